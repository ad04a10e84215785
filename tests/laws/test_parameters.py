"""How many parameters each phi trains, beside LoRA's; and that nothing else trains."""

from typing import Any

import pytest

from fusion_models import BLOCKS, FAMILIES, HIDDEN, WEIGHT_FREE, WEIGHTED, build, flare, plain_lora
from lanes import cover

RANK, FUSING = 4, 2 * BLOCKS


def trained(model: Any) -> int:
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


@pytest.mark.parametrize(("family", "fusion"), cover(FAMILIES, WEIGHT_FREE))
def test_weight_free_phi_train_what_lora_trains(family: str, fusion: str) -> None:
    model = flare(build(family), fusion=fusion)
    lora = plain_lora(build(family), model)
    own, theirs = (
        {name: p.numel() for name, p in each.named_parameters() if p.requires_grad} for each in (model, lora)
    )
    assert own == theirs
    assert all("lora_" in name or "modules_to_save" in name for name in own)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_whole_head_is_trained(family: str) -> None:
    """peft by itself would leave out all of a head but its last matrix."""
    model, backbone = flare(build(family)), build(family).base_model_prefix
    heads = {name.split(".")[0] for name, _ in build(family).named_parameters() if not name.startswith(f"{backbone}.")}
    saved = {
        name.split(".")[2] for name, p in model.named_parameters() if "modules_to_save" in name and p.requires_grad
    }
    assert saved == heads


@pytest.mark.parametrize("fusion", WEIGHTED)
def test_weighted_phi_train_three_maps_more_per_layer(fusion: str) -> None:
    free = trained(flare(build("bert"), fusion="add", r=RANK))
    assert trained(flare(build("bert"), fusion=fusion, r=RANK)) - free == FUSING * 3 * RANK**2


@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_flare_mt_trains_one_projection_more(family: str) -> None:
    free = trained(flare(build(family), fusion="add"))
    assert trained(flare(build(family), fusion="add", mt_dim=6)) - free == HIDDEN * 6 + HIDDEN


def test_projections_that_do_not_fuse_have_no_maps() -> None:
    model = flare(build("bert"), fusion="cross_attention", target_modules=["query", "key", "value"])
    assert not [name for name, _ in model.named_parameters() if "lora_fusion" in name and ".key.lora" in name]
    assert len([name for name, _ in model.named_parameters() if "lora_fusion" in name]) == FUSING * 3
