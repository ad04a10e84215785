"""The contract with peft: the names crossflare relies on are there, and mean what it takes them to mean."""

import inspect
from importlib.metadata import version

import torch
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from peft import mapping
from peft.tuners.lora import LoraModel
from peft.tuners.lora.layer import LoraLayer, LoraVariant
from peft.tuners.tuners_utils import BaseTuner
from peft.utils.other import AuxiliaryTrainingWrapper

import crossflare
from fusion_models import batch, build, flare

SUPPORTED = SpecifierSet(">=0.21,<0.23")


def test_the_version() -> None:
    assert Version(version("peft")) in SUPPORTED


def test_the_tables_of_methods() -> None:
    assert mapping.PEFT_TYPE_TO_CONFIG_MAPPING["FLARE"] is crossflare.FlareConfig
    assert mapping.PEFT_TYPE_TO_TUNER_MAPPING["FLARE"] is crossflare.FlareModel
    assert mapping.PEFT_TYPE_TO_PREFIX_MAPPING["FLARE"] == LoraModel.prefix == "lora_"


def test_the_methods_that_are_overridden_or_called() -> None:
    assert list(inspect.signature(BaseTuner._pre_injection_hook).parameters) == [
        "self",
        "model",
        "config",
        "adapter_name",
    ]
    assert list(inspect.signature(BaseTuner.inject_adapter).parameters)[:3] == ["self", "model", "adapter_name"]
    assert list(inspect.signature(LoraVariant.forward).parameters) == [
        "module",
        "active_adapter",
        "x",
        "result",
        "kwargs",
    ]
    assert isinstance(inspect.getattr_static(LoraModel, "_check_target_module_exists"), staticmethod)
    assert list(inspect.signature(LoraLayer._cast_input_dtype).parameters) == ["self", "x", "dtype"]
    for name in ("_enable_peft_forward_hooks", "unload"):
        assert callable(getattr(LoraModel, name)), name


def test_the_attributes_of_a_lora_layer() -> None:
    model = flare(build("bert"))
    layer = next(module for module in model.modules() if isinstance(module, LoraLayer))
    for name in ("lora_A", "lora_B", "lora_dropout", "lora_variant", "scaling", "r", "adapter_layer_names"):
        assert hasattr(layer, name), name
    assert layer.disable_adapters is False
    assert layer.active_adapters == ["default"]
    assert "lora_A" in layer.adapter_layer_names


def test_the_flag_of_heads_switches_to_the_original() -> None:
    model = flare(build("bert"))
    head = next(module for module in model.modules() if isinstance(module, AuxiliaryTrainingWrapper))
    with torch.no_grad():
        for parameter in head.modules_to_save.parameters():
            parameter.add_(1)
    states = torch.ones(1, 16, dtype=torch.float64)
    trained = head(states)
    head._disable_adapters = True
    assert not torch.equal(head(states), trained)
    head._disable_adapters = False
    assert torch.equal(head(states), trained)


def test_a_layer_calls_its_variant_with_its_own_input() -> None:
    """DeBERTa's layers tell their calls apart by the identity of the tensor that peft hands on."""
    model = flare(build("deberta"))
    seen = []
    for module in model.modules():
        if isinstance(module, LoraLayer):
            module.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    model(**batch().both())
    assert seen
    assert all(isinstance(x, torch.Tensor) for x in seen)
