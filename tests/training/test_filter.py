"""FILTER's joint blocks against a loop that runs each block on what it may see, with no mask."""

import copy
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertForQuestionAnswering

from crossflare.errors import UserError
from crossflare.fusion.identity import identify
from crossflare.libraries.transformers import with_checkpointing
from crossflare.tasks.kinds import TextTask
from crossflare.training.forms.answering import SpanForm
from crossflare.training.forms.choosing import HeadForm
from crossflare.training.forms.filter import prepare_filter
from crossflare.training.forms.make import make_form
from fusion_models import BLOCKS, Batch, batch, build, logits, pad, rows
from reference.slow_mixing import joined
from training.question_tools import TOKENIZERS
from training.writing_tools import QUESTIONS, asked
from writing_models import build as build_writer

FAMILIES = ("bert", "xlm-r")
ATTENTIONS = ("eager", "sdpa")
TOKENIZER = TOKENIZERS["sentencepiece"]
SPLITS = [(apart, joint) for apart in range(BLOCKS + 1) for joint in range(BLOCKS + 1 - apart)]


@pytest.mark.parametrize(("apart", "joint"), SPLITS)
@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_blocks_see_what_they_may(family: str, attention: str, apart: int, joint: int) -> None:
    plain = build(family, attn_implementation=attention)
    model = prepare_filter(copy.deepcopy(plain), apart, joint)
    targets, sources = [7, 4, 5], [5, 8, 3]
    found = logits(model, batch(targets, sources).both())
    for row, (target, source) in enumerate(zip(rows(targets, 1), rows(sources, 2), strict=True)):
        with torch.no_grad():
            states, _ = joined(plain, torch.tensor(target), torch.tensor(source), apart, joint)
            pooler = plain.base_model.pooler
            expected = plain.classifier(states[None] if pooler is None else pooler(states[None]))
        assert torch.allclose(found[row], expected[0], atol=1e-9)


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_without_joint_blocks_it_is_the_plain_model(family: str, attention: str) -> None:
    plain = build(family, attn_implementation=attention)
    given = batch()
    model = prepare_filter(copy.deepcopy(plain), 1, 0)
    assert torch.allclose(logits(model, given.both()), logits(plain, given.target), atol=1e-9)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_with_all_blocks_joint_it_is_the_model_on_both_as_one(attention: str) -> None:
    plain = build("bert", attn_implementation=attention)
    given = batch()
    whole = {name: torch.cat([given.target[name], given.source[name]], 1) for name in given.target}
    whole["position_ids"] = torch.tensor([[*range(7), *range(8)]])
    model = prepare_filter(copy.deepcopy(plain), 0, BLOCKS)
    assert torch.allclose(logits(model, given.both()), logits(plain, whole), atol=1e-9)


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_without_a_source_it_is_the_plain_model(family: str, attention: str) -> None:
    plain = build(family, attn_implementation=attention)
    model = prepare_filter(copy.deepcopy(plain), 0, BLOCKS)
    given = batch([7, 4, 5], [5, 0, 3])
    expected = logits(plain, given.target)
    assert torch.equal(logits(model, given.target), expected)
    same = (logits(model, given.both()) - expected).abs().amax(1) < 1e-9
    assert same.tolist() == [False, True, False]
    assert torch.equal(logits(model, given.target), expected)


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("side", ["right", "left"])
def test_padding_of_the_source_changes_nothing(side: str, attention: str) -> None:
    model = prepare_filter(build("xlm-r", attn_implementation=attention), 0, 1)
    expected = logits(model, batch().both())
    assert torch.allclose(logits(model, batch(side=side, extra=3).both()), expected, atol=1e-9)
    alone = Batch(pad(rows([7, 4, 5], 1)[:1]), pad(rows([5, 8, 3], 2)[:1]))
    assert torch.allclose(logits(model, alone.both()), expected[:1], atol=1e-9)


def test_rows_that_share_a_source() -> None:
    model = prepare_filter(build("bert"), 0, 1)
    given, index = batch(), torch.tensor([1, 0, 1])
    repeated = Batch(given.target, {name: tensor[index] for name, tensor in given.source.items()})
    shared = Batch(given.target, {name: tensor[:2] for name, tensor in given.source.items()})
    found = logits(model, shared.both() | {"source_rows": index})
    assert torch.allclose(found, logits(model, repeated.both()), atol=1e-12)


def test_checkpointing_changes_no_gradient() -> None:
    found = []
    for checkpointing in (False, True):
        model = prepare_filter(build("bert"), 0, 1).train()
        if checkpointing:
            with_checkpointing(model, reentrant=False)
        model(**batch().both()).logits.square().sum().backward()
        found.append([p.grad for p in model.parameters() if p.grad is not None])
    assert all(torch.allclose(one, two, atol=1e-9) for one, two in zip(*found, strict=True))


def test_an_error_leaves_nothing_behind() -> None:
    model, given = prepare_filter(build("bert"), 0, 1), batch()
    expected = logits(model, given.target)
    with pytest.raises(IndexError):
        model(**(given.both() | {"source_input_ids": given.source["input_ids"] + 100}))
    assert torch.equal(logits(model, given.target), expected)


def test_the_base_keeps_its_identity_and_a_copy_its_own_masks() -> None:
    plain = build("bert")
    model = prepare_filter(copy.deepcopy(plain), 0, 1)
    assert identify(model) == identify(plain)
    expected = logits(model, batch().both())
    assert torch.equal(logits(copy.deepcopy(model), batch().both()), expected)


def span_model(blocks: int = 2) -> Any:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(TOKENIZER), hidden_size=16, num_hidden_layers=blocks, num_attention_heads=2,
        intermediate_size=24, max_position_embeddings=64, initializer_range=0.3, pad_token_id=1,
    )  # fmt: skip
    return BertForQuestionAnswering(config).eval()


def test_spans_are_the_targets() -> None:
    plain, split = span_model(), asked(6)
    model = prepare_filter(copy.deepcopy(plain), 1, 0)
    form: Any = make_form(
        QUESTIONS, "head", model, TOKENIZER, 40, with_source=True, mixes="filter", stride=4, answer_tokens=6
    )
    assert type(form) is SpanForm
    said = form.read(model, split.examples, form.encode(split.examples), 4, "fp32", "")
    alone = SpanForm(TOKENIZER, 40, 4, 6, with_source=False)
    expected = alone.read(plain, split.examples, alone.encode(split.examples), 4, "fp32", "")
    assert said.texts == expected.texts
    assert said.scores == pytest.approx(expected.scores, abs=1e-5)
    model = prepare_filter(copy.deepcopy(plain), 1, 1)
    other = form.read(model, split.examples, form.encode(split.examples), 4, "fp32", "")
    changed = {n for n in range(6) if abs(other.scores[n] - expected.scores[n]) > 1e-4}
    assert changed == {n for n, example in enumerate(split) if example.source}
    batch = form.collate(list(form.encode(split.examples)))
    assert torch.isfinite(form.loss(model, batch))


@pytest.mark.parametrize(
    ("blocks", "questions", "expected"),
    [
        (24, True, (1, 20)),
        (12, True, (1, 10)),
        (6, True, (1, 5)),
        (2, True, (1, 1)),
        (24, False, (1, 1)),
        (2, False, (1, 1)),
    ],
)
def test_the_released_blocks_are_the_default(
    blocks: int, questions: bool, expected: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr("crossflare.training.forms.filter._Filter", lambda _, __, joint: seen.append(joint))
    prepare_filter(span_model(blocks) if questions else build("bert", num_hidden_layers=blocks))
    assert seen == [range(expected[0], sum(expected))]


@pytest.mark.parametrize("family", ["distilbert", "deberta", "modernbert"])
def test_other_architectures_are_refused(family: str) -> None:
    with pytest.raises(UserError, match=r"FILTER needs an encoder with absolute positions .* got .*; take such a base"):
        prepare_filter(build(family))


def test_what_cannot_be_prepared_is_refused(tokenizer: Any) -> None:
    model = build("bert")
    model.config._attn_implementation = "flash_attention_2"
    with pytest.raises(UserError, match="attention 'flash_attention_2' does not take; load the model with attn_impl"):
        prepare_filter(model)
    with pytest.raises(UserError, match=r"expected 1 \+ 2 blocks apart and joint to be among 2"):
        prepare_filter(build("bert"), 1, 2)
    with pytest.raises(UserError, match="reads two languages already"):
        prepare_filter(prepare_filter(build("bert")))
    with pytest.raises(UserError, match="got llama"):
        prepare_filter(build_writer("llama"))
    task = TextTask("thirds", 1, ("a", "b", "c"))
    with pytest.raises(UserError, match="FILTER: the model has no part that mixes; call prepare"):
        make_form(task, "head", build("bert"), tokenizer, 16, with_source=True, mixes="filter")
    assert (
        type(make_form(task, "head", prepare_filter(build("bert")), tokenizer, 16, with_source=True, mixes="filter"))
        is HeadForm
    )
