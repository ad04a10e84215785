"""The contract with peft: the names crossflare relies on are there, and mean what it takes them to mean."""

import inspect
from importlib.metadata import version

import pytest
import torch
from peft import get_peft_model
from peft.tuners.tuners_utils import BaseTuner
from torch import nn

import crossflare
from crossflare.fusion.latents import Latents
from crossflare.libraries import guard
from crossflare.libraries import peft as names
from fusion_models import batch, build, flare


def test_the_version() -> None:
    assert version("peft") in guard.tested("peft")


def test_the_tables_of_methods() -> None:
    wanted = (crossflare.FlareConfig, crossflare.FlareModel, names.LoraModel.prefix)
    assert [guard.name(place)["FLARE"] for place in names.TABLES] == list(wanted)
    assert names.LoraModel.prefix == "lora_"
    assert names.FlareType.FLARE.value == "FLARE"
    assert flare(build("bert")).get_model_status().peft_types == {"default": "FLARE"}


@pytest.mark.parametrize("method", names.METHODS)
def test_a_method_that_is_gone_is_said_in_one_line(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "LoraModel", type("LoraModel", (), {"prefix": "lora_"}))
    monkeypatch.setattr(names, "METHODS", (method,))
    with pytest.raises(guard.LibraryError, match=rf"^peft \S+ has no LoraModel\.{method}, .* tested with peft"):
        names.register(crossflare.FlareConfig, crossflare.FlareModel)


def test_the_methods_that_are_overridden_or_called() -> None:
    def parameters(function: object) -> list[str]:
        return list(inspect.signature(function).parameters)  # type: ignore[arg-type]

    assert parameters(BaseTuner._pre_injection_hook) == ["self", "model", "config", "adapter_name"]
    assert parameters(BaseTuner.inject_adapter)[:3] == ["self", "model", "adapter_name"]
    assert parameters(names.LoraVariant.forward) == ["module", "active_adapter", "x", "result", "kwargs"]
    assert isinstance(inspect.getattr_static(names.LoraModel, "_check_target_module_exists"), staticmethod)
    assert parameters(names.LoraLayer._cast_input_dtype) == ["self", "x", "dtype"]


def test_what_is_targeted() -> None:
    config = crossflare.FlareConfig(target_modules=["query", "value"])
    assert names.is_targeted(config, "layer.0.query")
    assert not names.is_targeted(config, "layer.0.key")
    config = crossflare.FlareConfig(target_modules="all-linear")
    assert {name.rpartition(".")[2] for name in names.all_linear(config, build("bert"))} >= {"query", "value", "dense"}


def test_further_weights_of_an_adapter_go_with_it() -> None:
    model = flare(build("bert"), fusion="cross_attention", mt_dim=5)
    for kind in ("lora_fusion", "lora_latents"):
        owned = [weight for name, weight in model.named_parameters() if kind in name]
        assert owned
        assert all(weight.requires_grad for weight in owned)
    model.set_adapter("default", inference_mode=True)
    assert not [name for name, weight in model.named_parameters() if weight.requires_grad]
    model.add_adapter("other", crossflare.FlareConfig(r=2))
    model.delete_adapter("default")
    assert not [name for name in model.state_dict() if ".default" in name]


def test_the_holder_of_latents_is_a_layer_of_the_tuner() -> None:
    model = flare(build("bert"), mt_dim=5)
    holder = [module for module in model.modules() if isinstance(module, Latents)]
    assert len(holder) == 1
    assert isinstance(holder[0], model.base_model.tuner_layer_cls)


def test_what_stands_below_the_wrappers() -> None:
    base = build("bert")
    query, head = base.bert.encoder.layer[0].attention.self.query, base.classifier
    model = get_peft_model(base, crossflare.FlareConfig(task_type="SEQ_CLS"))
    bert = model.base_model.model
    assert names.without_adapters(bert.bert.encoder.layer[0].attention.self.query) is query
    assert names.without_adapters(bert.classifier) is head
    assert isinstance(names.without_adapters(nn.Linear(1, 1)), nn.Linear)


def test_the_attributes_of_a_lora_layer() -> None:
    model = flare(build("bert"))
    layer = next(module for module in model.modules() if isinstance(module, names.LoraLayer))
    for name in ("lora_A", "lora_B", "lora_dropout", "lora_variant", "scaling", "r", "adapter_layer_names"):
        assert hasattr(layer, name), name
    assert layer.disable_adapters is False
    assert layer.active_adapters == ["default"]
    assert "lora_A" in layer.adapter_layer_names


def test_a_layer_calls_its_variant_with_its_own_input() -> None:
    """DeBERTa's layers tell their calls apart by the identity of the tensor that peft hands on."""
    model = flare(build("deberta"))
    seen = []
    for module in model.modules():
        if isinstance(module, names.LoraLayer):
            module.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    model(**batch().both())
    assert seen
    assert all(isinstance(x, torch.Tensor) for x in seen)
