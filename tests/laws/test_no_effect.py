"""When an adapter must change nothing, and when it must be exactly a plain LoRA."""

from typing import Any

import pytest
import torch
from peft import PeftModel, get_peft_model
from torch import Tensor, nn

import crossflare
from crossflare.fusion.frame import ModelStates
from crossflare.fusions import FUSIONS
from fusion_models import FAMILIES, PAIRS, batch, build, flare, logits, plain_lora
from lanes import cover

LINEAR_ALONE = [name for name, row in FUSIONS.items() if row.linear_alone]


def fresh(base: Any, **options: Any) -> PeftModel:
    """Put a new adapter on a base, as a user gets it: lora_B is zero."""
    return get_peft_model(base, crossflare.FlareConfig(task_type="SEQ_CLS", r=4, **options)).eval()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_fresh_adapter_is_the_base_model_bit_for_bit(family: str) -> None:
    both = batch()
    base = logits(build(family, dtype=torch.float32), both.target)
    for fusion, alignment in PAIRS:
        model = fresh(build(family, dtype=torch.float32), fusion=fusion, alignment=alignment)
        assert torch.equal(logits(model, both.both()), base), (fusion, alignment)
        assert torch.equal(logits(model, both.target), base), (fusion, alignment)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_trained_adapter_is_not_the_base_model(family: str) -> None:
    """The control: with weights, the source and the adapter alone both change every row."""
    both, base = batch(), build(family)
    plain, model = logits(base, both.target), flare(build(family))
    with_source, alone = logits(model, both.both()), logits(model, both.target)
    for one, other in ((with_source, plain), (alone, plain), (with_source, alone)):
        assert ((one - other).abs().amax(1) > 1e-3).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_every_fusing_layer_fuses(family: str) -> None:
    """With all lora_B but one at zero the source still shows, whichever layer keeps its own."""
    both, model = batch(), flare(build(family))
    ups = [parameter for name, parameter in model.named_parameters() if "lora_B" in name]
    kept = [parameter.detach().clone() for parameter in ups]
    for index, up in enumerate(ups):
        with torch.no_grad():
            for parameter in ups:
                parameter.zero_()
            up.copy_(kept[index])
        assert (logits(model, both.both()) - logits(model, both.target)).abs().max() > 1e-6, index


def zero_source(self: ModelStates, block: int, lead: int, projection: nn.Module | None) -> Tensor:
    return torch.zeros_like(self.states[block + lead])


@pytest.mark.parametrize("family", FAMILIES)
def test_add_with_a_zero_source_is_plain_lora(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    both, model = batch(), flare(build(family), fusion="add", source_norm=False)
    lora = logits(plain_lora(build(family), model), both.target)
    assert (logits(model, both.both()) - lora).abs().max() > 1e-3
    monkeypatch.setattr(ModelStates, "at", zero_source)
    torch.testing.assert_close(logits(model, both.both()), lora, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("family", "fusion"), cover(FAMILIES, LINEAR_ALONE))
def test_without_a_source_it_is_plain_lora(family: str, fusion: str) -> None:
    both, model = batch(), flare(build(family), fusion=fusion)
    lora = plain_lora(build(family), model)
    torch.testing.assert_close(logits(model, both.target), logits(lora, both.target), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("family", "fusion"), cover(FAMILIES, ["add_relu", "mul_relu"]))
def test_without_a_source_the_relu_forms_are_lora_with_a_relu(family: str, fusion: str) -> None:
    both, model = batch(), flare(build(family), fusion=fusion)
    lora = plain_lora(build(family), model)
    alone = logits(model, both.target)
    assert (alone - logits(lora, both.target)).abs().max() > 1e-3
    for name, module in lora.named_modules():
        if name.endswith("lora_B.default"):
            key = family == "modernbert"  # one matrix, of which the key is plain

            def up(module: Any, args: tuple[Any, ...], output: Any, key: bool = key) -> Any:
                plain = output.chunk(3, -1)[1]
                first, _, last = module.forward(args[0].relu()).chunk(3, -1)
                return torch.cat([first, plain, last], -1) if key else module.forward(args[0].relu())

            module.register_forward_hook(up)
    torch.testing.assert_close(alone, logits(lora, both.target), rtol=0, atol=1e-12)


def test_rows_without_a_source_are_as_if_no_row_had_one() -> None:
    model, both = flare(build("xlm-r")), batch([7, 4, 5], [5, 0, 3])
    alone = logits(model, both.target)
    mixed = logits(model, both.both())
    torch.testing.assert_close(mixed[1], alone[1], rtol=0, atol=1e-12)
    assert (mixed - alone)[[0, 2]].abs().amax(1).min() > 1e-3
    nobody = batch([7, 4, 5], [0, 0, 0])
    torch.testing.assert_close(logits(model, nobody.both()), alone, rtol=0, atol=1e-12)
