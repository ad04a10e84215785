"""X-Mixup in models that write: the block against loops, padding, causality, and generation step by step."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor

from crossflare.errors import UserError
from crossflare.fusion.identity import GATE, head_modules, identify
from crossflare.fusion.saved.adapter_files import load_adapter, save_adapter
from crossflare.libraries.transformers import with_checkpointing
from crossflare.tasks.example import Answer, Example
from crossflare.training.forms.make import make_form
from crossflare.training.forms.mixing import prepare_mixing
from crossflare.training.forms.protocol import Choices, average
from fusion_models import PAD, pad, rows
from reference.slow_mixing import Inside, mixed_inside
from training.writing_tools import QUESTIONS, TASK, asked, labelled, tokenizer_of
from writing_models import DECODERS, build, prompts

MIXING = ("llama", "gemma2", "qwen3", "mt5")
"""Shared keys; capped scores and a norm after attention; norms of queries and keys; an encoder-decoder."""
TARGETS, SOURCES = [7, 4, 6], [5, 8, 3]


def prepared(family: str, layer: int = 1, **options: Any) -> Any:
    model = prepare_mixing(build(family, **options), layer)
    gate = getattr(model, GATE)
    with torch.no_grad():
        gate.weight.fill_(0.7)
        gate.bias.fill_(-0.3)
    model.generation_config.eos_token_id = None
    return model


def adapted(model: Any, seed: int = 3) -> Any:
    kind = "SEQ_2_SEQ_LM" if model.config.is_encoder_decoder else "CAUSAL_LM"
    names = ["q", "v"] if model.config.is_encoder_decoder else ["q_proj", "v_proj"]
    wrapped = get_peft_model(
        model, LoraConfig(task_type=kind, r=2, target_modules=names, modules_to_save=head_modules(model))
    )
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
    return wrapped.eval()


def said(model: Any, inputs: dict[str, Tensor]) -> Tensor:
    """Return the logits after the prompt, and in a decoder at each of its tokens: [B,T,V] or [B,1,V]."""
    more = {"decoder_input_ids": torch.full((len(inputs["input_ids"]), 1), PAD)}
    with torch.no_grad():
        return model(**inputs, **(more if model.config.is_encoder_decoder else placed(inputs))).logits


def placed(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    return {"position_ids": (inputs["attention_mask"].cumsum(1) - 1).clamp(min=0)}


def own(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in inputs.items() if not name.startswith("source_")}


def steps(model: Any, inputs: dict[str, Tensor], **options: Any) -> tuple[Tensor, Tensor]:
    """Return the new tokens [B,N] and the logits of every step [B,N,V]."""
    asked = {"max_new_tokens": 5, "do_sample": False, "pad_token_id": PAD} | options
    out = model.generate(**inputs, **asked, output_logits=True, return_dict_in_generate=True)
    return out.sequences[:, -len(out.logits) :], torch.stack(out.logits, 1)


def exact(family: str) -> float:
    return 1e-4 if family == "gemma2" else 1e-5


def after_attention(model: Any, layer: int, inputs: dict[str, Tensor]) -> Tensor:
    """Return the states that the block's feed-forward part begins with, [B,T,d], as its own norm receives them."""
    t5 = model.config.is_encoder_decoder
    block: Any = model.get_encoder().block[layer] if t5 else model.model.layers[layer]
    two = hasattr(block, "pre_feedforward_layernorm")
    norm = (
        block.layer[1].layer_norm if t5 else block.pre_feedforward_layernorm if two else block.post_attention_layernorm
    )
    seen: list[Tensor] = []
    handle = norm.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    said(model, inputs)
    handle.remove()
    return seen[-1]


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("family", MIXING)
def test_the_block_is_that_of_the_equations(family: str, layer: int) -> None:
    plain, model = build(family), prepared(family, layer)
    given = prompts(family, TARGETS, [5, 8, 0])
    found = after_attention(model, layer, given)
    targets = after_attention(plain, layer, own(given))
    source = {name.removeprefix("source_"): tensor[:2] for name, tensor in given.items() if name not in own(given)}
    sources = after_attention(plain, layer, source)
    t5 = plain.config.is_encoder_decoder
    inside = Inside(plain.get_encoder().block[layer] if t5 else plain.model.layers[layer], family)
    with torch.no_grad():
        for row in range(3):
            real = given["attention_mask"][row].bool()
            target = list(targets[row][real])
            read = list(sources[row][source["attention_mask"][row].bool()]) if row < 2 else []
            expected = mixed_inside(inside, target, read, 0.7, -0.3) if read else target
            torch.testing.assert_close(found[row][real], torch.stack(expected), rtol=0, atol=exact(family))
            assert not read or float((found[row][real] - targets[row][real]).abs().max()) > 1e-2


@pytest.mark.parametrize("family", MIXING)
def test_without_a_source_it_is_the_plain_model(family: str) -> None:
    plain, model = build(family), prepared(family)
    given = prompts(family, TARGETS, [5, 0, 3])
    expected = said(plain, own(given))
    assert torch.equal(said(model, own(given)), expected)
    same = (said(model, given) - expected)[:, -1].abs().amax(-1) < 1e-12
    assert same.tolist() == [False, True, False]
    none = given | {"source_attention_mask": given["source_attention_mask"] * 0}
    assert torch.equal(said(model, none)[:, -1], expected[:, -1])


@pytest.mark.parametrize("family", MIXING)
def test_padding_changes_nothing_and_another_source_does(family: str) -> None:
    model, given = adapted(prepared(family)), prompts(family, TARGETS, SOURCES)
    expected = said(model, given)[:, -1]
    far = exact(family) * 10
    for side in ("left", "right"):
        wide = said(model, prompts(family, TARGETS, SOURCES, extra=3, side=side))[:, -1]
        torch.testing.assert_close(wide, expected, rtol=0, atol=exact(family))
    order = torch.tensor([1, 0, 2])
    other = given | {name: tensor[order] for name, tensor in given.items() if name.startswith("source_")}
    moved = (said(model, other)[:, -1] - expected).abs().amax(-1)
    assert moved[:2].min() > far
    assert moved[2] < exact(family)
    shared = given | {name: given[name][:2] for name in given if name.startswith("source_")}
    index = torch.tensor([1, 0, 1])
    repeated = given | {name: given[name][index] for name in given if name.startswith("source_")}
    again = said(model, shared | {"source_rows": index})
    torch.testing.assert_close(again, said(model, repeated), rtol=0, atol=exact(family))


@pytest.mark.parametrize("family", [name for name in MIXING if name in DECODERS])
def test_a_later_token_of_the_target_changes_no_earlier_logits(family: str) -> None:
    model, given = adapted(prepared(family, 0)), prompts(family, [7], [5])
    expected = said(model, given)
    for place in (3, 6):
        changed = copy.deepcopy(given)
        changed["input_ids"][0, place] = (changed["input_ids"][0, place] + 5) % 30 + 4
        found = said(model, changed)
        torch.testing.assert_close(found[:, :place], expected[:, :place], rtol=0, atol=exact(family))
        assert float((found[:, place] - expected[:, place]).abs().max()) > 1e-2


@pytest.mark.parametrize("family", MIXING)
def test_generation_with_the_cache_without_it_alone_and_in_beams(family: str) -> None:
    model, given = adapted(prepared(family)), prompts(family, TARGETS, SOURCES)
    model.generation_config.eos_token_id = None
    tokens, logits = steps(model, given)
    _, full = steps(model, given, use_cache=False)
    torch.testing.assert_close(logits, full, rtol=0, atol=10 * exact(family), check_dtype=False)
    assert float((logits[:, 0] - steps(model, own(given))[1][:, 0]).abs().max()) > 1e-2
    torch.testing.assert_close(logits[:, 0], said(model, given)[:, -1], rtol=0, atol=exact(family), check_dtype=False)
    # The answer as part of the row, as in training, where `fusion_mask` marks the prompt.
    if family in DECODERS:
        ids = torch.cat([given["input_ids"], tokens], 1)
        ones = torch.ones_like(tokens)
        whole = given | {"input_ids": ids, "attention_mask": torch.cat([given["attention_mask"], ones], 1)}
        whole["fusion_mask"] = torch.cat([given["attention_mask"], 0 * ones], 1)
        trained = said(model, whole)[:, given["input_ids"].shape[1] - 1 : -1]
        torch.testing.assert_close(trained, logits, rtol=0, atol=10 * exact(family), check_dtype=False)
        mixed_answer = said(model, whole | {"fusion_mask": whole["attention_mask"]})
        assert float((mixed_answer[:, -1] - said(model, whole)[:, -1]).abs().max()) > 1e-2
    beams = {"num_beams": 2, "max_new_tokens": 3, "do_sample": False, "pad_token_id": PAD}
    width = 1 if model.config.is_encoder_decoder else given["input_ids"].shape[1]
    written = model.generate(**given, **beams)[:, width:]
    alone = {name: tensor[2:][:, -3:] if name.startswith("source_") and family in DECODERS else tensor[2:]
             for name, tensor in given.items()}  # fmt: skip
    assert torch.equal(model.generate(**alone, **beams)[:, width:], written[2:])
    assert torch.equal(said(model, own(given)), said(model, own(given)))
    with pytest.raises(UserError, match="generate with a source cannot use prefill_chunk_size"):
        model.generate(**given, prefill_chunk_size=2)


@pytest.mark.parametrize("family", ["llama", "mt5"])
def test_gradients_reach_the_adapter_through_the_source_and_the_gate_with_checkpointing_too(family: str) -> None:
    found = []
    for checkpointing in (False, True):
        model = adapted(prepared(family)).train()
        if checkpointing:
            with_checkpointing(model, reentrant=False)
        given = prompts(family, TARGETS, SOURCES)
        more = {"decoder_input_ids": torch.full((3, 1), PAD)} if family == "mt5" else placed(given)
        model(**given, **more).logits[:, -1].square().mean().backward()
        found.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
    assert any(GATE in name and float(grad.abs().max()) > 0 for name, grad in found[0].items())
    assert found[0].keys() == found[1].keys()
    for name, grad in found[0].items():
        torch.testing.assert_close(grad, found[1][name], rtol=1e-6, atol=1e-9)
    model = adapted(prepared(family)).train()
    given = prompts(family, TARGETS, SOURCES)
    embedded = model.get_input_embeddings()(given.pop("source_input_ids")).detach().requires_grad_(True)
    more = {"decoder_input_ids": torch.full((3, 1), PAD)} if family == "mt5" else placed(given)
    model(**given, source_inputs_embeds=embedded, **more).logits[:, -1].square().mean().backward()
    real = given["source_attention_mask"].bool()
    assert embedded.grad is not None
    assert bool((embedded.grad.abs().amax(-1) > 0)[real].all())
    assert float(embedded.grad[~real].abs().max()) == 0


def test_a_gate_of_a_model_that_writes_is_saved_with_the_adapter(tmp_path: Path) -> None:
    base = build("llama", dtype=torch.float32)
    identity = identify(base)
    model = adapted(prepare_mixing(copy.deepcopy(base), 1))
    assert identify(prepare_mixing(copy.deepcopy(base))) == identity
    save_adapter(model, tmp_path / "mixing", base=identity)
    loaded = load_adapter(prepare_mixing(copy.deepcopy(base), 1), tmp_path / "mixing", base=identity)
    given = prompts("llama", TARGETS, SOURCES)
    torch.testing.assert_close(said(loaded, given), said(model, given))
    gates = [getattr(each.base_model.model, GATE).modules_to_save["default"].bias for each in (model, loaded)]
    assert torch.equal(*gates)
    assert gates[0].item() != 1.0


def test_a_copy_mixes_by_itself_and_an_error_leaves_nothing_behind() -> None:
    model, given = prepared("llama"), prompts("llama", TARGETS, SOURCES)
    expected, plain = said(model, given), said(model, own(given))
    tokens, _ = steps(model, given)
    other = copy.deepcopy(model)
    getattr(model, GATE).most = 0.0
    assert torch.equal(said(other, given), expected)
    assert torch.equal(steps(other, given)[0], tokens)
    with pytest.raises(UserError, match="2 source rows for 3 target rows"):
        other.generate(**(given | {"source_input_ids": given["source_input_ids"][:2]}))
    with pytest.raises(IndexError):
        other.generate(**(given | {"input_ids": given["input_ids"] + 100}))
    assert torch.equal(said(other, own(given)), plain)
    assert pad(rows([1]))["input_ids"].shape == (1, 1)


# The published form --------------------------------------------------------------------------------------------------


def first(values: Tensor, batch: dict[str, Tensor], answer: int, encoder_decoder: bool) -> Tensor:
    return values[0, 0 if encoder_decoder else len(batch["input_ids"][0]) - answer - 1]


def one(form: Any, example: Example) -> tuple[dict[str, Tensor], int]:
    """Return the batch of one row without its mirror, and the number of tokens of its answer."""
    batch = form.collate(form.encode([example]))
    kept = {name: tensor for name, tensor in batch.items() if not name.startswith(("mirror_", "answer_known"))}
    return kept, int((kept.pop("labels") != -100).sum())


def cross_entropy(logits: Tensor, tokens: list[int]) -> float:
    return -float(sum(row.log_softmax(0)[token] for row, token in zip(logits.double(), tokens, strict=True))) / len(
        tokens
    )


@pytest.mark.parametrize("family", ["llama", "mt5"])
def test_the_published_loss_of_words_is_that_of_both_languages_and_of_their_disagreement(family: str) -> None:
    model, tokenizer = adapted(prepared(family)), tokenizer_of(family)
    form = make_form(TASK, "text", model, tokenizer, 24, with_source=True, mixes="published")
    split, expected, t5 = labelled(5), 0.0, family == "mt5"
    for example in split:
        mirror = replace(example, texts=example.source or example.texts, source=None)
        losses, states, odds = [], [], []
        for each in (example, mirror):
            batch, count = one(form, each)
            with torch.no_grad():
                output = model(**batch, output_hidden_states=True)
            tokens = [int(token) for token in form.prompter.answer(form.words[example.label or 0])]
            logits = output.logits[0] if t5 else output.logits[0, -count - 1 : -1]
            losses.append(cross_entropy(logits, tokens))
            states.append(first((output.decoder_hidden_states if t5 else output.hidden_states)[-1], batch, count, t5))
            odds.append(logits[0][form.first].double().softmax(0))
        if example.source is None:
            expected += losses[0]
            continue
        divergence = float(sum(q * torch.log(q / p) for p, q in zip(*odds, strict=True)))
        apart = float((states[0] - states[1]).square().mean())
        expected += 0.4 * losses[1] + 0.6 * losses[0] + divergence + apart
    found = form.loss(model, form.collate(form.encode(list(split))))
    assert float(found) == pytest.approx(expected / 5, rel=1e-4)
    said_by = make_form(TASK, "text", model, tokenizer, 24, with_source=True, mixes="plain")
    rows_ = [replace(example, label=None) for example in split]
    told = [
        each.read(model, examples, each.encode(examples), 4, "fp32", "")
        for each, examples in (
            (form, rows_),
            (said_by, rows_),
            (said_by, [replace(e, texts=e.source or e.texts, source=None) for e in rows_]),
        )
    ]
    assert all(isinstance(each, Choices) for each in told)
    both, target, source = (each.log_probabilities for each in told)  # type: ignore[union-attr]
    np.testing.assert_allclose(both, average(target, source), atol=1e-5)
    assert np.abs(both - target).max() > 1e-3


@pytest.mark.parametrize("family", ["llama", "mt5"])
def test_the_published_loss_of_answers_has_the_source_s_own_answer(family: str) -> None:
    model, tokenizer, t5 = adapted(prepared(family)), tokenizer_of(family), family == "mt5"
    form = make_form(QUESTIONS, "text", model, tokenizer, 24, with_source=True, mixes="published", answer_tokens=4)
    given = [
        replace(e, source_answers=(Answer(e.source[0]),)) if e.source and n % 2 else e for n, e in enumerate(asked(6))
    ]
    expected = 0.0
    for example in given:
        mirror = replace(example, texts=example.source or example.texts, source=None)
        mirror = replace(mirror, answers=example.source_answers or example.answers)
        losses, means = [], []
        for each in (example, mirror):
            batch, count = one(form, each)
            with torch.no_grad():
                output = model(**batch, output_hidden_states=True)
            tokens = [int(token) for token in form.prompter.answer(each.answers[0].text)]
            losses.append(cross_entropy(output.logits[0] if t5 else output.logits[0, -count - 1 : -1], tokens))
            read = output.encoder_last_hidden_state[0] if t5 else output.hidden_states[-1][0, :-count]
            means.append(read.mean(0))
        if example.source is None:
            expected += losses[0]
            continue
        share = 0.2 if example.source_answers else 0.0
        expected += share * losses[1] + (1 - share) * losses[0] + float((means[0] - means[1]).square().mean())
    found = form.loss(model, form.collate(form.encode(given)))
    assert float(found) == pytest.approx(expected / 6, rel=1e-4)


def test_what_the_published_form_cannot_do_is_said() -> None:
    model = prepare_mixing(build("mt5"))
    with pytest.raises(UserError, match="take kind xmixup-lora, the block alone"):
        make_form(TASK, "head", model, tokenizer_of("mt5"), 24, with_source=True, mixes="published")
    with pytest.raises(UserError, match="FILTER is for a head over a text beside its source; set form: head"):
        make_form(TASK, "text", model, tokenizer_of("mt5"), 24, with_source=True, mixes="filter")
