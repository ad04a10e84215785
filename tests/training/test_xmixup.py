"""X-Mixup: the mixing block against loops over the equations, and what its published loss and prediction are."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import XLMRobertaConfig, XLMRobertaForQuestionAnswering

from crossflare.errors import UserError
from crossflare.fusion.identity import GATE, head_modules, identify
from crossflare.fusion.saved.adapter_files import load_adapter, save_adapter
from crossflare.libraries.transformers import with_checkpointing
from crossflare.tasks.example import Answer, Example, Split
from crossflare.tasks.kinds import TextTask
from crossflare.training.forms.answering import SpanForm
from crossflare.training.forms.choosing import HeadForm
from crossflare.training.forms.joining import Annealing
from crossflare.training.forms.make import make_form
from crossflare.training.forms.mixing import prepare_mixing
from crossflare.training.forms.protocol import Choices
from crossflare.training.forms.xmixup import XMixupForm, XMixupSpanForm
from crossflare.training.loop.settings import Settings
from crossflare.training.text.spans import IGNORED
from crossflare.training.train import train
from fusion_models import HIDDEN, LABELS, VOCABULARY, Batch, batch, build, logits, pad, rows
from reference.slow_mixing import mixed
from training.question_tools import sentencepiece
from training.writing_tools import QUESTIONS, asked
from writing_models import build as build_writer

FAMILIES = ("bert", "xlm-r")
TASK = TextTask("thirds", 1, ("a", "b", "c"))


def prepared(family: str = "xlm-r", layer: int = 0, *, w: float = 0.7, b: float = -0.3, **options: Any) -> Any:
    model = prepare_mixing(build(family, **options), layer)
    with torch.no_grad():
        gate = getattr(model, GATE)
        gate.weight.fill_(w)
        gate.bias.fill_(b)
    return model


def adapted(model: Any, seed: int = 3, **options: Any) -> Any:
    """Put LoRA and a head trained whole on a prepared model, all of it random."""
    config = LoraConfig(r=2, target_modules=["query", "value"], modules_to_save=head_modules(model), **options)
    wrapped = get_peft_model(model, config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
    return wrapped.eval()


def after_attention(model: Any, layer: int, inputs: dict[str, Tensor]) -> Tensor:
    """Return what a block's attention hands on, [B,T,d]; the hook runs behind those that are there."""
    seen: list[Tensor] = []
    attention = model.base_model.encoder.layer[layer].attention
    handle = attention.register_forward_hook(lambda _, __, output: seen.append(output[0]))
    logits(model, inputs)
    handle.remove()
    return seen[-1]


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_block_is_that_of_the_equations(family: str, layer: int) -> None:
    plain, model = build(family), prepared(family, layer)
    given = batch([7, 4, 5, 3], [5, 8, 0, 1])
    targets, sources = (after_attention(plain, layer, side) for side in (given.target, given.source | REAL))
    found = after_attention(model, layer, given.both())
    parts = plain.base_model.encoder.layer[layer].attention
    for row, (length, other) in enumerate(zip([7, 4, 5, 3], [5, 8, 0, 1], strict=True)):
        target = list(targets[row, :length])
        expected = mixed(parts, target, list(sources[row, :other]), 0.7, -0.3, 0.5) if other else target
        assert torch.allclose(found[row, :length], torch.stack(expected), atol=1e-5)


REAL: dict[str, Tensor] = {"attention_mask": pad(rows([5, 8, 1, 1], 2))["attention_mask"]}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_weight_of_zero_is_the_plain_model(family: str) -> None:
    plain, model = build(family), prepared(family)
    given = batch()
    assert not torch.allclose(logits(model, given.both()), logits(plain, given.target), atol=1e-2)
    getattr(model, GATE).most = 0.0
    assert torch.equal(logits(model, given.both()), logits(plain, given.target))


@pytest.mark.parametrize("family", FAMILIES)
def test_without_a_source_it_is_the_plain_model(family: str) -> None:
    plain, model = build(family), prepared(family)
    given = batch([7, 4, 5], [5, 0, 3])
    expected = logits(plain, given.target)
    assert torch.equal(logits(model, given.target), expected)
    with torch.no_grad():
        output = model(**given.both())
    same = (output.logits - expected).abs().amax(1) < 1e-12
    assert same.tolist() == [False, True, False]
    assert output.source_logits.isnan().any(1).tolist() == [False, True, False]
    none = Batch(given.target, {name: tensor * 0 for name, tensor in given.source.items()})
    assert torch.equal(logits(model, none.both()), expected)


@pytest.mark.parametrize("extra", [0, 3])
@pytest.mark.parametrize("side", ["right", "left"])
def test_padding_of_the_source_changes_nothing(side: str, extra: int) -> None:
    model = prepared("xlm-r", 1)
    with torch.no_grad():
        one, two = (model(**batch(**options).both()) for options in ({}, {"side": side, "extra": extra}))
    assert torch.allclose(one.logits, two.logits, atol=1e-6)
    if side == "right":  # a head reads the first column
        assert torch.allclose(one.source_logits, two.source_logits, atol=1e-6)
    alone = batch([7], [5])
    with torch.no_grad():
        together, single = model(**batch([7, 4], [5, 8]).both()), model(**alone.both())
    assert torch.allclose(together.logits[:1], single.logits, atol=1e-6)


def test_rows_that_share_a_source_read_it_once() -> None:
    model = prepared("bert", 1)
    given = batch([7, 4, 5], [5, 8, 0])
    index = torch.tensor([1, 0, 1])
    shared = given.both() | {"source_rows": index}
    repeated = Batch(given.target, {name: tensor[index] for name, tensor in given.source.items()}).both()
    with torch.no_grad():
        one = model(
            **{n: t[:2] if n in repeated and n.startswith("source_") else t for n, t in shared.items()},
            output_hidden_states=True,
        )
        two = model(**repeated, output_hidden_states=True)
    for name in ("logits", "source_logits"):
        assert torch.allclose(one[name], two[name], atol=1e-12)
    assert torch.allclose(one.source_hidden_states[-1], two.source_hidden_states[-1], atol=1e-12)


def test_the_source_is_read_by_the_adapted_model_with_gradients() -> None:
    model = adapted(prepared("xlm-r"))
    given = batch()
    output = model(**given.both())
    assert torch.allclose(output.source_logits, logits(model, given.source), atol=1e-12)
    assert not torch.allclose(output.source_logits, logits(build("xlm-r"), given.source), atol=1e-3)
    grads = torch.autograd.grad(output.source_logits.sum(), [p for n, p in model.named_parameters() if "lora_A" in n])
    assert all(grad.abs().sum() > 0 for grad in grads)
    model(**given.both()).logits.square().sum().backward()
    gate = getattr(model, GATE).modules_to_save["default"]
    assert gate.weight.grad.abs() > 0
    assert gate.bias.grad.abs() > 0


def test_checkpointing_changes_no_gradient() -> None:
    found = []
    for checkpointing in (False, True):
        model = adapted(prepared("bert", 1)).train()
        if checkpointing:
            with_checkpointing(model, reentrant=False)
        output = model(**batch().both())
        (output.logits.square().sum() + output.source_logits.sum()).backward()
        found.append([p.grad for p in model.parameters() if p.requires_grad and p.grad is not None])
    assert len(found[0]) == len(found[1]) > 4
    assert all(torch.allclose(one, two, atol=1e-9) for one, two in zip(*found, strict=True))


def test_an_error_leaves_nothing_behind() -> None:
    model = prepared("bert")
    given = batch()
    expected = logits(model, given.target)
    wrong = given.both() | {"input_ids": given.target["input_ids"] + VOCABULARY}
    with pytest.raises(IndexError):
        model(**wrong)
    assert torch.equal(logits(model, given.target), expected)
    wrong = given.both() | {"source_input_ids": given.source["input_ids"] + VOCABULARY}
    with pytest.raises(IndexError):
        model(**wrong)
    assert torch.equal(logits(model, given.target), expected)
    with pytest.raises(UserError, match="2 source rows for 3 target rows"):
        model(**(given.both() | {"source_input_ids": given.source["input_ids"][:2]}))


def test_a_copy_mixes_by_itself() -> None:
    model = prepared("bert")
    given = batch()
    expected = logits(model, given.both())
    other = copy.deepcopy(model)
    getattr(model, GATE).most = 0.0
    assert torch.equal(logits(other, given.both()), expected)


def test_the_adapter_is_saved_and_loaded_with_its_gate(tmp_path: Path) -> None:
    base = build("xlm-r")
    identity = identify(base)
    assert identify(prepare_mixing(copy.deepcopy(base))) == identity
    stage1 = adapted(copy.deepcopy(base), seed=5)
    save_adapter(stage1, tmp_path / "stage1", base=identity)
    merged = load_adapter(copy.deepcopy(base), tmp_path / "stage1").merge_and_unload()
    model = adapted(prepare_mixing(merged, 1))
    save_adapter(model, tmp_path / "mixing", base=identity, source_task=tmp_path / "stage1")
    loaded = load_adapter(prepare_mixing(copy.deepcopy(base), 1), tmp_path / "mixing", base=identity)
    given = batch()
    assert torch.allclose(logits(loaded, given.both()), logits(model, given.both()), atol=1e-6)
    assert not torch.allclose(logits(loaded, given.both()), logits(loaded, given.target), atol=1e-3)
    gates = [getattr(each, GATE).modules_to_save["default"].weight for each in (model, loaded)]
    assert torch.equal(gates[0].float(), gates[1].float())
    assert gates[1].item() != 1.0
    with pytest.raises(UserError, match="mixup_gate"):
        load_adapter(copy.deepcopy(base), tmp_path / "mixing", base=identity)


@pytest.mark.parametrize("family", ["distilbert", "deberta", "modernbert"])
def test_other_architectures_are_refused(family: str) -> None:
    with pytest.raises(UserError, match=r"X-Mixup needs an encoder .*bert, .*xlm-roberta.* got .*; take such a base"):
        prepare_mixing(build(family))


def test_what_cannot_be_prepared_is_refused() -> None:
    with pytest.raises(UserError, match="expected a block from 0 to 1, got 2"):
        prepare_mixing(build("bert"), 2)
    with pytest.raises(UserError, match="mixes already"):
        prepare_mixing(prepare_mixing(build("bert")))
    with pytest.raises(UserError, match="carries adapters already"):
        prepare_mixing(adapted(build("bert")))
    with pytest.raises(UserError, match="got gpt2"):
        prepare_mixing(build_writer("gpt2"))
    with pytest.raises(UserError, match="expected a block from 0 to 1, got 2"):
        prepare_mixing(build_writer("mt5"), 2)


# Forms ---------------------------------------------------------------------------------------------------------------


def examples() -> list[Example]:
    given = [("w1 w2 w3", "w4 w5"), ("w6", "w7 w8 w9"), ("w2 w2", None), ("w9 w8", "w1")]
    return [Example(str(n), (text,), n % 3, source and (source,)) for n, (text, source) in enumerate(given)]


def head(mixes: Any, tokenizer: Any, **options: Any) -> tuple[Any, Any]:
    model = prepared("bert", vocab_size=64, dtype=torch.float32, **options)
    return model, make_form(TASK, "head", model, tokenizer, 16, with_source=True, mixes=mixes)


def divergence(first: Tensor, second: Tensor) -> float:
    """Return KL(softmax(first) || softmax(second)) by its definition."""
    p, q = first.double().softmax(0), second.double().softmax(0)
    return float(sum(a * torch.log(a / b) for a, b in zip(p, q, strict=True)))


def test_the_published_loss_is_that_of_the_paper(tokenizer: Any) -> None:
    model, form = head("published", tokenizer)
    assert isinstance(form, XMixupForm)
    with torch.no_grad():
        model.classifier.weight.mul_(4)  # else the divergence is as good as symmetric
    expected = 0.0
    encoded = form.encode(examples())
    for row in encoded:
        one = form.collate([row])
        label = int(one.pop("labels"))
        with torch.no_grad():
            output = model(**one, output_hidden_states=True)
        target = -float(output.logits[0].double().log_softmax(0)[label])
        if row.source is None:
            expected += target
            continue
        source = -float(output.source_logits[0].double().log_softmax(0)[label])
        states = [each[-1][0, 0].double() for each in (output.source_hidden_states, output.hidden_states)]
        expected += 0.4 * source + 0.6 * target + divergence(output.source_logits[0], output.logits[0])
        expected += float(((states[0] - states[1]) ** 2).sum() / HIDDEN)
    assert float(form.loss(model, form.collate(list(encoded)))) == pytest.approx(expected / 4, abs=1e-5)
    bare = [row for row in encoded if row.source is None]
    plain = HeadForm(TASK, tokenizer, 16, with_source=False)
    assert float(form.loss(model, form.collate(bare))) == pytest.approx(float(plain.loss(model, plain.collate(bare))))


def test_labels_are_predicted_by_the_mean_of_the_logits(tokenizer: Any) -> None:
    model, form = head("published", tokenizer)
    rows = form.encode(examples())
    said = form.read(model, examples(), rows, 3, "fp32", "")
    alone = make_form(TASK, "head", model, tokenizer, 16, with_source=True, mixes="plain")
    parts = alone.read(model, examples(), rows, 3, "fp32", "")
    assert isinstance(parts, Choices)
    there = [example.source is not None for example in examples()]
    mean = (parts.log_probabilities[there] + parts.source[there]) / 2  # normalised, it is the logits' mean
    expected = torch.from_numpy(mean).log_softmax(-1).numpy()
    np.testing.assert_allclose(said.log_probabilities[there], expected)
    np.testing.assert_allclose(said.log_probabilities[2], parts.log_probabilities[2])
    assert np.isnan(said.source).any(1).tolist() == [not each for each in there]
    assert said.log_probabilities.shape == (4, LABELS)


def test_the_plain_variant_has_the_targets_loss_alone(tokenizer: Any) -> None:
    model, form = head("plain", tokenizer)
    assert type(form) is HeadForm
    batch = form.collate(list(form.encode(examples())))
    with torch.no_grad():
        found = model(**{name: tensor for name, tensor in batch.items() if name != "labels"}).logits
    expected = torch.nn.functional.cross_entropy(found, batch["labels"])
    assert float(form.loss(model, batch)) == pytest.approx(float(expected))


def spans(mixes: Any) -> tuple[Any, Any]:
    torch.manual_seed(0)
    tokenizer = sentencepiece()
    config = XLMRobertaConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        max_position_embeddings=64, initializer_range=0.3, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        pad_token_id=1,
    )  # fmt: skip
    model: Any = prepare_mixing(XLMRobertaForQuestionAnswering(config).eval(), 1)
    form = make_form(QUESTIONS, "head", model, tokenizer, 40, with_source=True, mixes=mixes, stride=4, answer_tokens=6)
    return model, form


def answered(example: Example) -> Example:
    """Label the first word of the source's context as its answer."""
    first = example.source[1].split()[0] if example.source else ""
    return replace(example, source_answers=(Answer(first, 0),) if first else ())


def test_a_labelled_source_points_at_its_answers_tokens() -> None:
    _, form = spans("published")
    examples = [answered(example) for example in asked(6).examples]
    rows = list(form.encode(examples))
    batch = form.collate(rows)
    for place, row in enumerate(rows):
        found = batch["source_start_positions"][place], batch["source_end_positions"][place]
        assert (row.source is None) == (found[0] == IGNORED) == (row.source_span is None)
        if row.source is not None:
            answer = examples[row.example].source_answers[0].text
            ids = row.source.ids[int(found[0]) : int(found[1]) + 1].tolist()
            assert ids == form.tokenizer(answer, add_special_tokens=False)["input_ids"]
    plain = SpanForm(form.tokenizer, 40, 4, 6, with_source=True)
    assert not any("source" in name and "positions" in name for name in plain.collate(rows))
    unlabelled = form.collate(list(form.encode(asked(6).examples)))
    assert unlabelled["source_start_positions"].unique().tolist() == [IGNORED]


@pytest.mark.parametrize("labelled", [False, True])
def test_spans_have_the_published_losses(labelled: bool) -> None:
    model, form = spans("published")
    assert isinstance(form, XMixupSpanForm)
    plain = SpanForm(form.tokenizer, 40, 4, 6, with_source=True)
    expected = 0.0
    rows = list(form.encode([answered(e) if labelled and n % 2 else e for n, e in enumerate(asked(8).examples)]))
    for row in rows:
        target = float(plain.loss(model, plain.collate([row])))
        one = form.collate([row])
        if row.source_span is not None:
            with torch.no_grad():
                said = model(input_ids=one["source_input_ids"], attention_mask=one["source_attention_mask"])
            length = len(row.source.ids)  # type: ignore[union-attr]
            shares = [each[0, :length].log_softmax(0) for each in (said.start_logits, said.end_logits)]
            source = -sum(float(share[place]) for share, place in zip(shares, row.source_span, strict=True)) / 2
            target = 0.2 * source + 0.8 * target
        expected += target
        one = {name: tensor for name, tensor in one.items() if not name.endswith("_positions")}
        with torch.no_grad():
            output = model(**one, output_hidden_states=True)
        if row.source is not None:
            means = [
                states[-1][0, : len(side.ids)].mean(0)
                for states, side in ((output.hidden_states, row.target), (output.source_hidden_states, row.source))
            ]
            expected += float(((means[0] - means[1]) ** 2).mean())
    assert sum(row.source is not None for row in rows) not in (0, len(rows))
    assert any(row.source_span is not None for row in rows) == labelled
    assert float(form.loss(model, form.collate(rows))) == pytest.approx(expected / len(rows), abs=1e-5)


def test_answers_are_the_targets_alone() -> None:
    (model, form), split = spans("published"), asked(6)
    plain = SpanForm(form.tokenizer, 40, 4, 6, with_source=True)
    said, alone = (
        each.read(model, split.examples, each.encode(split.examples), 4, "fp32", "") for each in (form, plain)
    )
    assert said.texts == alone.texts
    assert said.scores == pytest.approx(alone.scores)


@pytest.mark.parametrize("mixes", ["published", "plain"])
def test_forms_that_cannot_mix_say_so(mixes: Any, tokenizer: Any) -> None:
    with pytest.raises(UserError, match="X-Mixup: the model has no part that mixes; call prepare on the base"):
        make_form(TASK, "head", build("bert"), tokenizer, 16, with_source=True, mixes=mixes)
    for more in ({"answering": "head", "joined": True},):
        with pytest.raises(UserError, match="X-Mixup is for a head over a text beside its source"):
            make_form(
                TASK, model=prepared("bert"), tokenizer=tokenizer, max_length=16, with_source=True, mixes=mixes, **more
            )


def test_it_trains_with_an_annealed_source(tokenizer: Any, folder: Path) -> None:
    """Through the one recipe, and the gate learns with the adapter."""
    rows = tuple(
        Example(str(n), (f"w{n % 3} w9",), n % 3, (f"w{n % 3 + 20} w8",), clean_source=(f"w{n % 3 + 40}",))
        for n in range(12)
    )
    split = Split("train", "sw", rows)
    model = adapted(prepared("bert", vocab_size=64, dtype=torch.float32), task_type="SEQ_CLS")
    gate = getattr(model, GATE).modules_to_save["default"]
    before = gate.weight.item()
    form = make_form(
        TASK, "head", model, tokenizer, 16, with_source=True, mixes="published", annealing=Annealing(3, seed=1)
    )
    settings = Settings(lr=1e-2, epochs=8, batch_size=4, max_length=16, precision="fp32", evaluations=2)

    def measure(said: Any, split: Any) -> float:
        return float((said.predicted == [e.label for e in split]).mean())

    outcome = train(model, split, split, tokenizer, form, settings, folder, measure=measure, identity={})
    first, *_, last = outcome.curve
    assert last.loss < first.loss  # type: ignore[operator]
    assert gate.weight.item() != before
