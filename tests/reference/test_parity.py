"""The fast implementation computes what the slow loops compute, for every phi, alignment and lead."""

from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor

from fusion_models import BLOCKS, PAIRS, Batch, batch, build, flare, logits, pad, rows
from reference.slow_flare import SlowBert, State, Term, fused

EXACT = {"rtol": 0, "atol": 1e-10}


def slow_model(family: str, base: Any) -> SlowBert:
    prefix, first = ("bert", 0) if family == "bert" else ("roberta", base.config.pad_token_id + 1)
    return SlowBert(dict(base.state_dict()), prefix, base.config.num_attention_heads, BLOCKS, first)


def tensors(model: PeftModel, block: int, projection: str) -> State:
    """Return an adapter's tensors in one projection: A, B, and the maps of phi."""
    found: State = {}
    for name, tensor in model.state_dict().items():
        if f"layer.{block}.attention.self.{projection}.lora_" in name:
            kind, _, rest = name.partition(".lora_")[2].partition(".default")
            found[rest.removeprefix(".") if kind == "fusion" else kind] = tensor
    return found


def term(model: PeftModel, source_states: list[Tensor] | None, fuses: list[bool]) -> Term:
    """Return what the adapter adds, from the equation."""
    config = model.peft_config["default"]

    def add(projection: str, block: int, x: Tensor) -> Tensor:
        own = tensors(model, block, projection)
        if not own:
            return torch.zeros((), dtype=x.dtype)
        if projection not in config.fusion_modules:  # plain LoRA
            return config.lora_alpha / config.r * x @ own["A"].T @ own["B"].T
        v = None if source_states is None else source_states[block + config.lead]
        low = fused(config.fusion, config.alignment, x, v, own["A"], own, fuses)
        return config.lora_alpha / config.r * low @ own["B"].T

    return add


def head_of(model: PeftModel) -> State:
    """Return the trained head's tensors by their short names."""
    saved = "modules_to_save.default."
    return {name.partition(saved)[2]: tensor for name, tensor in model.state_dict().items() if saved in name}


def slow_logits(family: str, model: PeftModel, texts: list[list[int]], sources: list[list[int]], eps: float) -> Tensor:
    base = build(family)
    slow = slow_model(family, base)
    out: list[Tensor] = []
    for text, source in zip(texts, sources, strict=True):
        states = slow.states(source, eps=eps) if source else None
        last = slow.states(text, term(model, states, [True] * len(text)), eps)[-1]
        out.append(slow.logits(last[0], head_of(model)))
    return torch.stack(out)


def eps_of(base: Any) -> float:
    return base.config.layer_norm_eps


@pytest.mark.parametrize("lead", [0, 1])
@pytest.mark.parametrize(("fusion", "alignment"), PAIRS)
def test_equals_the_slow_loops(fusion: str, alignment: str, lead: int) -> None:
    targets, sources = rows([6, 3, 5, 4], 1), rows([4, 7, 0, 4], 2)  # longer, shorter, missing, equal
    model = flare(build("bert"), fusion=fusion, alignment=alignment, lead=lead)
    fast = logits(model, Batch(pad(targets, extra=1), pad(sources, extra=2)).both())
    slow = slow_logits("bert", model, targets, sources, eps_of(build("bert")))
    torch.testing.assert_close(fast, slow, **EXACT)


def test_the_loops_tell_phi_alignment_and_lead_apart() -> None:
    """The control: every pair of settings differs by far more than the tolerance."""
    targets, sources = rows([6, 4], 1), rows([4, 7], 2)
    seen: dict[Any, Tensor] = {}
    for fusion, alignment in PAIRS:
        for lead in (0, 1):
            model = flare(build("bert"), fusion=fusion, alignment=alignment, lead=lead)
            seen[fusion, alignment, lead] = logits(model, Batch(pad(targets), pad(sources)).both())
    names = list(seen)
    for i, one in enumerate(names):
        for other in names[:i]:
            assert (seen[one] - seen[other]).abs().max() > 1e-4, (one, other)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(("fusion", "alignment"), [("add_relu", "position"), ("cross_attention", "none")])
def test_equals_the_slow_loops_on_xlm_r_for_either_padding(fusion: str, alignment: str, side: str) -> None:
    targets, sources = rows([6, 3], 1), rows([4, 7], 2)
    model = flare(build("xlm-r"), fusion=fusion, alignment=alignment, target_modules=["query", "key", "value"])
    fast = logits(model, Batch(pad(targets), pad(sources, side=side, extra=3)).both())
    slow = slow_logits("xlm-r", model, targets, sources, eps_of(build("xlm-r")))
    torch.testing.assert_close(fast, slow, **EXACT)


@pytest.mark.parametrize("fusion", ["add", "mul_relu"])
def test_no_source_at_all_is_every_row_without_source(fusion: str) -> None:
    targets = rows([6, 3], 1)
    model = flare(build("bert"), fusion=fusion)
    slow = slow_logits("bert", model, targets, [[], []], eps_of(build("bert")))
    torch.testing.assert_close(logits(model, pad(targets)), slow, **EXACT)


def test_flare_mt_equals_the_slow_loops() -> None:
    targets, lengths = rows([6, 3, 4], 1), [4, 5, 0]
    model = flare(build("bert"), mt_dim=5)
    latents = torch.randn(3, 6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
    mask = torch.tensor([[j < length for j in range(6)] for length in lengths]).long()
    fast = logits(model, pad(targets) | {"source_latents": latents, "source_attention_mask": mask})
    base = build("bert")
    slow, eps = slow_model("bert", base), eps_of(base)
    first = "base_model.model.flare_latents.lora_latents.default."
    projection, bias = (model.state_dict()[first + name] for name in ("weight", "bias"))
    for row, text in enumerate(targets):
        v = torch.stack([projection @ state + bias for state in latents[row, : lengths[row]]]) if lengths[row] else None
        states = None if v is None else [v] * (BLOCKS + 1)
        last = slow.states(text, term(model, states, [True] * len(text)), eps)[-1]
        torch.testing.assert_close(fast[row], slow.logits(last[0], head_of(model)), **EXACT)


@pytest.mark.parametrize(("fusion", "alignment"), PAIRS)
def test_a_fusion_mask_leaves_tokens_out(fusion: str, alignment: str) -> None:
    targets, sources = rows([6, 5], 1), rows([4, 7], 2)
    fuses = [[False, True, True, False, True, False], [True, False, False, True, True]]
    model = flare(build("bert"), fusion=fusion, alignment=alignment)
    mask = torch.zeros(2, 6, dtype=torch.long)
    for row, values in enumerate(fuses):
        mask[row, : len(values)] = torch.tensor(values).long()
    fast = logits(model, Batch(pad(targets), pad(sources)).both() | {"fusion_mask": mask})
    base = build("bert")
    slow, eps = slow_model("bert", base), eps_of(base)
    for row, text in enumerate(targets):
        last = slow.states(text, term(model, slow.states(sources[row], eps=eps), fuses[row]), eps)[-1]
        torch.testing.assert_close(fast[row], slow.logits(last[0], head_of(model)), **EXACT)


@pytest.mark.parametrize("family", ["bert", "xlm-r"])
def test_the_slow_model_is_the_base_model(family: str) -> None:
    base, texts = build(family), rows([6, 3], 1)
    slow, inputs = slow_model(family, base), pad(texts)
    with torch.no_grad():
        output = base(**inputs, output_hidden_states=True)
    for row, text in enumerate(texts):
        for mine, theirs in zip(slow.states(text, eps=eps_of(base)), output.hidden_states, strict=True):
            torch.testing.assert_close(mine, theirs[row, : len(text)], **EXACT)


def test_batch_is_what_it_says() -> None:
    both = batch([3, 2], [2, 4], side="left").both()
    assert both["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert both["source_attention_mask"].tolist() == [[0, 0, 1, 1], [1, 1, 1, 1]]
