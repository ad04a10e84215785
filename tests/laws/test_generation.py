"""Writing with a source: decoding step by step, in batches and in beams gives what one full pass would give.

Every law has a control that breaks the rule it rests on, and must then fail.
"""

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache, GenerationConfig

from crossflare.errors import UserError
from crossflare.fusion.frame import Side
from crossflare.fusion.generation import REFUSED, PairedCache
from crossflare.libraries.transformers import cache_argument, own_fault
from fusion_models import PAD
from lanes import cover
from writing_models import DECODERS, ENCODER_DECODERS, END, MORE, adapted, build, prompts, write

FAMILIES = DECODERS + ENCODER_DECODERS
ALL = FAMILIES + MORE
KINDS: dict[str, dict[str, str]] = {
    "position": {},
    "proportional": {"alignment": "proportional"},
    "attention": {"alignment": "attention"},
    "cross": {"fusion": "cross_attention"},
    "paper": {"fusion": "cross_attention_paper"},
    "mul": {"fusion": "mul"},
}
SHORT = {name: KINDS[name] for name in ("position", "attention", "cross")}
CASES = [(family, kind) for family in ALL for kind in (KINDS if family in FAMILIES else SHORT)]
TARGETS, SOURCES = [7, 4, 6], [5, 8, 3]
EXACT: dict[str, Any] = {"rtol": 0, "atol": 1e-5, "check_dtype": False}  # generate hands out float32
STEPS = 6


def steps(model: Any, inputs: dict[str, Tensor], **options: Any) -> tuple[Tensor, Tensor]:
    """Return the new tokens [B,N] and the logits of every step [B,N,V]."""
    asked = {"max_new_tokens": STEPS, "do_sample": False, "pad_token_id": PAD} | options
    out = model.generate(**inputs, **asked, output_logits=True, return_dict_in_generate=True)
    return out.sequences[:, -len(out.logits) :], torch.stack(out.logits, 1)


def row(inputs: dict[str, Tensor], number: int) -> dict[str, Tensor]:
    """Return one prompt with its source, without any padding."""
    alone = {}
    for side in ("", "source_"):
        real = inputs[f"{side}attention_mask"][number].bool()
        for name in ("input_ids", "attention_mask"):
            alone[side + name] = inputs[side + name][number][real][None]
    return alone


def needs_a_sound_base(family: str) -> None:
    """Skip where the base model alone breaks the law, as UMT5 does in releases of transformers before 5.18."""
    model, inputs = build(family), prompts(family, TARGETS, SOURCES)
    own = {name: value for name, value in inputs.items() if not name.startswith("source_")}
    if not torch.allclose(steps(model, own)[1], steps(model, own, use_cache=False)[1], rtol=0, atol=1e-5):
        pytest.skip(f"{own_fault(model.config)}")


@pytest.mark.parametrize(("family", "kind"), cover(CASES))
def test_with_the_cache_as_without_it(family: str, kind: str) -> None:
    needs_a_sound_base(family)
    model, inputs = adapted(family, **KINDS[kind]), prompts(family, TARGETS, SOURCES)
    tokens, logits = steps(model, inputs)
    again, full = steps(model, inputs, use_cache=False)
    assert torch.equal(tokens, again)
    torch.testing.assert_close(logits, full, **EXACT)
    assert float((logits[:, 0] - logits[:, 1]).abs().max()) > 1e-3  # a model that says one thing agrees with anything


@pytest.mark.parametrize(("family", "kind"), cover(FAMILIES, SHORT))
def test_the_source_is_read(family: str, kind: str) -> None:
    model, inputs = adapted(family, **KINDS[kind]), prompts(family, TARGETS, SOURCES)
    _, logits = steps(model, inputs)
    _, without = steps(model, {name: tensor for name, tensor in inputs.items() if not name.startswith("source_")})
    assert float((logits[:, 0] - without[:, 0]).abs().max()) > 1e-3


def forgets_where_it_is(self: Side, offset: int, width: int) -> Side:
    del offset
    return Side(self.source, self.fusing[:, :width], self.anchor, self.causal)


def test_control_a_step_that_takes_itself_for_the_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs = adapted("llama"), prompts("llama", TARGETS, SOURCES)
    _, full = steps(model, inputs, use_cache=False)
    monkeypatch.setattr(Side, "at", forgets_where_it_is)
    _, logits = steps(model, inputs)
    torch.testing.assert_close(logits[:, 0], full[:, 0], **EXACT)
    assert float((logits[:, 1] - full[:, 1]).abs().max()) > 1e-3


@pytest.mark.parametrize(("family", "kind"), cover(CASES))
def test_each_prompt_alone_as_in_the_batch(family: str, kind: str) -> None:
    model = adapted(family, **KINDS[kind])
    inputs = prompts(family, TARGETS, SOURCES)
    padded = prompts(family, TARGETS, SOURCES, extra=3)
    tokens, logits = steps(model, inputs)
    assert torch.equal(steps(model, padded)[0], tokens)
    for number in range(len(TARGETS)):
        alone, own = steps(model, row(inputs, number))
        assert torch.equal(alone[0], tokens[number])
        torch.testing.assert_close(own[0], logits[number], **EXACT)


def test_control_padding_that_is_read() -> None:
    """Without the source's mask its padding counts as text."""
    model, inputs = adapted("llama"), prompts("llama", TARGETS, SOURCES, extra=3)
    _, logits = steps(model, inputs)
    _, wrong = steps(model, inputs | {"source_attention_mask": torch.ones_like(inputs["source_attention_mask"])})
    assert float((logits[:, 0] - wrong[:, 0]).abs().max()) > 1e-3


def full_logits(model: Any, inputs: dict[str, Tensor], written: Tensor) -> Tensor:
    """Return the logits [B,N,V] that one pass over prompt and answer gives at the answer's tokens."""
    if model.config.is_encoder_decoder:
        start = torch.full((len(written), 1), model.config.decoder_start_token_id)
        decoder = torch.cat([start, written[:, :-1]], 1)
        with torch.no_grad():
            return model(**inputs, decoder_input_ids=decoder).logits
    ids = torch.cat([inputs["input_ids"], written], 1)
    mask = torch.cat([inputs["attention_mask"], torch.ones_like(written)], 1)
    closed = torch.cat([inputs["attention_mask"], torch.zeros_like(written)], 1)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    source = {name: tensor for name, tensor in inputs.items() if name.startswith("source_")}
    with torch.no_grad():
        out = model(input_ids=ids, attention_mask=mask, fusion_mask=closed, position_ids=positions, **source)
    return out.logits[:, inputs["input_ids"].shape[1] - 1 : -1]


@pytest.mark.parametrize(("family", "kind"), cover(CASES))
def test_teacher_forcing_as_in_training(family: str, kind: str) -> None:
    """The log-probabilities summed while decoding are those that training computes for the same answer."""
    needs_a_sound_base(family)
    model, inputs = adapted(family, **KINDS[kind]), prompts(family, TARGETS, SOURCES)
    tokens, logits = steps(model, inputs)
    forced = full_logits(model, inputs, tokens)
    torch.testing.assert_close(forced, logits, **EXACT)
    summed = [side.double().log_softmax(-1).gather(2, tokens[..., None]).sum() for side in (logits, forced)]
    torch.testing.assert_close(
        summed[0], summed[1], rtol=0, atol=1e-4 if family == "gemma2" else 1e-5, check_dtype=False
    )


@pytest.mark.parametrize("family", ["llama", "mt5"])
def test_control_an_answer_that_fuses_in_training(family: str) -> None:
    """With no fusion mask the answer would count as prompt; an encoder-decoder's answer is no part of the prompt."""
    model, inputs = adapted(family), prompts(family, TARGETS, SOURCES)
    tokens, logits = steps(model, inputs)
    if family == "mt5":
        forced = full_logits(model, inputs, tokens.roll(1, 0))
    else:
        ids = torch.cat([inputs["input_ids"], tokens], 1)
        mask = torch.cat([inputs["attention_mask"], torch.ones_like(tokens)], 1)
        source = {name: tensor for name, tensor in inputs.items() if name.startswith("source_")}
        with torch.no_grad():
            forced = model(input_ids=ids, attention_mask=mask, **source).logits[
                :, inputs["input_ids"].shape[1] - 1 : -1
            ]
    assert float((forced - logits).abs().max()) > 1e-3


def slow_beams(model: Any, inputs: dict[str, Tensor], beams: int) -> Tensor:
    """Return the best of `beams` hypotheses of STEPS tokens for one prompt: a loop over whole passes, no cache."""
    hypotheses: list[tuple[float, list[int]]] = [(0.0, [])]
    for _ in range(STEPS):
        grown = []
        for score, answer in hypotheses:
            written = torch.tensor([[*answer, 0]])
            logits = full_logits(model, inputs, written)[0, -1]
            values, tokens = logits.log_softmax(-1).topk(2 * beams)
            grown += [(score + float(v), [*answer, int(t)]) for v, t in zip(values, tokens, strict=True)]
        hypotheses = sorted(grown, key=lambda pair: -pair[0])[:beams]
    return torch.tensor([hypotheses[0][1]])


@pytest.mark.parametrize(("family", "kind"), cover(["llama", "mistral", "mt5", "m2m100"], SHORT))
def test_beam_search_as_a_slow_loop(family: str, kind: str) -> None:
    model, inputs = adapted(family, **KINDS[kind]), prompts(family, TARGETS, SOURCES)
    for cached in (True, False):
        written = write(model, inputs, num_beams=3, use_cache=cached)
        for number in range(len(TARGETS)):
            assert torch.equal(written[number : number + 1], slow_beams(model, row(inputs, number), 3))


def test_control_beams_whose_source_stays_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """The base decoder's cache must follow the beams: a search that needs to reorder goes wrong without."""
    parent: Callable[..., None] = PairedCache.__mro__[1].reorder_cache
    wrong = 0
    for seed in range(6):
        model, inputs = adapted("mt5", base=build("mt5", seed=seed)), prompts("mt5", TARGETS, SOURCES)
        right = steps(model, inputs, num_beams=3)[1]
        with monkeypatch.context() as patch:
            patch.setattr(PairedCache, "reorder_cache", parent)
            left = steps(model, inputs, num_beams=3)[1]
        wrong += left.shape != right.shape or not torch.allclose(left, right, atol=1e-6)
    assert wrong


@pytest.mark.parametrize("family", ["llama", "mt5"])
def test_sampling_under_a_seed(family: str) -> None:
    model, inputs = adapted(family), prompts(family, TARGETS, SOURCES)
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(write(model, inputs, do_sample=True, num_return_sequences=2))
    assert drawn[0].shape == (2 * len(TARGETS), STEPS)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize("family", ["llama", "mt5"])
def test_rows_without_a_source_write_what_they_write_alone(family: str) -> None:
    model, inputs = adapted(family), prompts(family, TARGETS, [5, 0, 3])
    tokens, _ = steps(model, inputs)
    alone = {name: tensor[1:2] for name, tensor in prompts(family, TARGETS, SOURCES).items() if "source" not in name}
    assert torch.equal(steps(model, alone)[0][0], tokens[1])


@pytest.mark.parametrize("family", FAMILIES)
def test_adapters_off_and_no_effect(family: str) -> None:
    base = build(family)
    base.generation_config.eos_token_id = None
    inputs = prompts(family, TARGETS, SOURCES)
    plain = {name: tensor for name, tensor in inputs.items() if not name.startswith("source_")}
    expected = write(base, plain)
    model = adapted(family, base=build(family))
    assert not torch.equal(write(model, inputs), expected)
    with model.disable_adapter():
        assert torch.equal(write(model, inputs), expected)
    assert torch.equal(write(adapted(family, scale=0.0), inputs), expected)


@pytest.mark.parametrize("family", ["llama", "mt5"])
def test_latents_of_a_translation_encoder(family: str) -> None:
    model = adapted(family, mt_dim=5)
    inputs = {name: tensor for name, tensor in prompts(family, TARGETS, SOURCES).items() if "source" not in name}
    mask = prompts(family, TARGETS, SOURCES)["source_attention_mask"]
    latents = torch.randn(*mask.shape, 5, generator=torch.Generator().manual_seed(0)).double()
    inputs |= {"source_latents": latents, "source_attention_mask": mask}
    tokens, logits = steps(model, inputs)
    again, full = steps(model, inputs, use_cache=False)
    assert torch.equal(tokens, again)
    torch.testing.assert_close(logits, full, **EXACT)
    torch.testing.assert_close(full_logits(model, inputs, tokens), logits, **EXACT)


@pytest.mark.parametrize("option", sorted(REFUSED))
def test_what_cannot_be_right_is_refused(option: str) -> None:
    model, inputs = adapted("llama"), prompts("llama", TARGETS, SOURCES)
    value: Any = {"prefill_chunk_size": 2, "guidance_scale": 1.5, "penalty_alpha": 0.6}.get(option, "anything")
    with pytest.raises(UserError, match=f"generate with a source cannot use {option}: .*; leave it out"):
        model.generate(**inputs, **{option: value})
    if hasattr(GenerationConfig(), option):
        configured = GenerationConfig(max_new_tokens=2)
        setattr(configured, option, value)
        with pytest.raises(UserError, match=f"cannot use {option}"):
            model.generate(**inputs, generation_config=configured)
    assert model.base_model.attachment.session.get() is None


def test_prompts_padded_on_the_right() -> None:
    inputs = prompts("mt5", TARGETS, SOURCES)  # padded on the right
    with pytest.raises(UserError, match=r"prompts are padded on the right; set tokenizer.padding_side = 'left'"):
        adapted("llama").generate(**inputs)


def test_a_source_beside_a_filled_cache() -> None:
    model, inputs = adapted("llama"), prompts("llama", TARGETS, SOURCES)
    with torch.no_grad():
        plain = {name: each for name, each in inputs.items() if not name.startswith("source_")}
        cache = DynamicCache()
        name = cache_argument(inspect.signature(model.get_base_model().forward).parameters)
        model(**plain, use_cache=True, **{name: cache})
        for call in (model, model.generate):
            with pytest.raises(
                UserError, match=r"the key-value cache given holds \d+ tokens already; leave the cache out"
            ):
                call(**inputs, **{name: cache})


def test_generate_leaves_nothing_behind() -> None:
    model, inputs = adapted("mt5"), prompts("mt5", TARGETS, SOURCES)
    with torch.no_grad():
        before = model(**inputs, decoder_input_ids=torch.full((3, 2), END)).logits
        write(model, inputs)
        after = model(**inputs, decoder_input_ids=torch.full((3, 2), END)).logits
    assert torch.equal(before, after)
    assert model.base_model.attachment.session.get() is None
    assert model.base_model.attachment.calls.frame is None
