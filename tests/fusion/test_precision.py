"""Types of numbers: bases in bfloat16, autocast, and adapters kept in the base's type."""

from typing import Any

import pytest
import torch
from peft import get_peft_model
from torch import Tensor

import crossflare
from fusion_models import FAMILIES, PAIRS, batch, build, flare

ROUNDING = torch.finfo(torch.bfloat16).eps / 2


def inputs(mt_dim: int | None, dtype: torch.dtype) -> dict[str, Tensor]:
    both = batch([7, 4, 5], [5, 8, 0])
    if mt_dim is None:
        return both.both()
    latents = torch.randn(3, 8, mt_dim, generator=torch.Generator().manual_seed(5)).to(dtype)
    return both.target | {"source_latents": latents, "source_attention_mask": both.source["attention_mask"]}


def effect(model: Any, given: dict[str, Tensor]) -> float:
    """Return how much the source changes the logits of the rows that have one."""
    target = {name: given[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        difference = (model(**given).logits - model(**target).logits).abs()
    assert difference[2].max() < 0.05
    return float(difference[:2].max())


@pytest.mark.parametrize("cast", [True, False])
@pytest.mark.parametrize("mt_dim", [None, 5])
@pytest.mark.parametrize("alignment", ["position", "attention"])
@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_bases_fuse(family: str, alignment: str, mt_dim: int | None, cast: bool) -> None:
    """peft keeps the adapter in float32 there, and casts what enters a layer; or not (`autocast_adapter_dtype`)."""
    config = crossflare.FlareConfig(task_type="SEQ_CLS", r=4, alignment=alignment, mt_dim=mt_dim)
    model = get_peft_model(build(family, dtype=torch.bfloat16), config, autocast_adapter_dtype=cast).eval()
    kinds = {parameter.dtype for name, parameter in model.named_parameters() if "lora_" in name}
    assert kinds == {torch.float32 if cast else torch.bfloat16}
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_()
    for dtype in (torch.bfloat16, torch.float32):
        assert effect(model, inputs(mt_dim, dtype)) > 0.05


@pytest.mark.parametrize(("fusion", "alignment"), PAIRS)
def test_autocast_trains_with_finite_gradients(fusion: str, alignment: str) -> None:
    """Autocast keeps cast weights: those met first under no_grad, in the source pass, must not lose their gradient."""
    given, labels = batch([7, 4, 5], [5, 8, 0]).both(), torch.tensor([0, 1, 2])
    model = flare(build("bert", dtype=torch.float32), fusion=fusion, alignment=alignment).train()
    model(**given, labels=labels).loss.backward()
    exact = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(**given, labels=labels)
    output.loss.backward()
    assert output.source_logits[:2].isfinite().all()
    whole = torch.stack([grad.norm() for grad in exact.values()]).norm()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            near = torch.nn.functional.cosine_similarity(parameter.grad.flatten(), exact[name].flatten(), 0)
            # Where an attention's terms cancel, what is left (1e-4 of the whole) is smaller than bfloat16's rounding.
            error = (parameter.grad - exact[name]).norm() / whole
            assert near > 0.8 or error < ROUNDING, (name, float(near), float(error))
