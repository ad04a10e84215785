"""What users of peft do with adapters: several on one model, saved, loaded, switched and taken off."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, BertForSequenceClassification

from crossflare import FlareConfig
from crossflare.errors import UserError
from crossflare.fusion.latents import PLACE
from fusion_models import batch, build, flare, logits, randomise
from writing_models import adapted, prompts, write
from writing_models import build as build_writer

CLOSE: dict[str, Any] = {"rtol": 0, "atol": 1e-5}
OPTIONS: dict[str, dict[str, Any]] = {
    "phi": {"fusion": "mul", "lead": 0},
    "weights": {"fusion": "cross_attention"},
    "latents": {"mt_dim": 5},
}


def small(family: str = "bert") -> Any:
    return build(family, dtype=torch.float32)


def given(options: dict[str, Any]) -> dict[str, Tensor]:
    """Return a batch that fits an adapter with these options."""
    both = batch()
    if "mt_dim" not in options:
        return both.both()
    latents = torch.randn(3, 8, 5, generator=torch.Generator().manual_seed(5))
    return both.target | {"source_latents": latents, "source_attention_mask": both.source["attention_mask"]}


def alone(**options: Any) -> PeftModel:
    return flare(small(), seed=7, **options)


def activate(model: nn.Module, name: str | list[str]) -> None:
    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            module.set_adapter(name)


def hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


@pytest.mark.parametrize("kind", OPTIONS)
def test_each_of_two_adapters_keeps_its_own_rules(kind: str) -> None:
    options = OPTIONS[kind]
    model = flare(small())
    model.add_adapter("second", FlareConfig(task_type="SEQ_CLS", r=4, lora_alpha=8, **options))
    randomise(model, seed=7, adapter="second")
    model.eval()
    for name, other, inputs in (
        ("second", alone(**options), given(options)),
        ("default", flare(small()), given({})),
    ):
        model.set_adapter(name)
        torch.testing.assert_close(logits(model, inputs), logits(other, inputs), **CLOSE)


def test_adapters_that_read_unlike_sources_are_not_active_together() -> None:
    model = flare(small())
    model.add_adapter("second", FlareConfig(task_type="SEQ_CLS", r=4, mt_dim=5))
    before = logits(model, batch().both())
    with pytest.raises(UserError, match="active adapters must agree in mt_dim, got default: None, second: 5"):
        model.base_model.set_adapter(["default", "second"])
    assert model.active_adapters == ["default"]
    assert torch.equal(logits(model, batch().both()), before)


def test_the_projection_of_latents_is_trained_with_its_adapter() -> None:
    model = alone(mt_dim=5)
    model.add_adapter("second", FlareConfig(task_type="SEQ_CLS", r=4, mt_dim=5))

    def trained() -> set[str]:
        named = model.named_parameters()
        return {name.split(".")[-2] for name, weight in named if PLACE in name and weight.requires_grad}

    assert trained() == {"default"}
    model.set_adapter("second")
    assert trained() == {"second"}
    model.set_adapter("second", inference_mode=True)
    assert trained() == set()


def test_the_projection_of_latents_is_no_head() -> None:
    model = alone(mt_dim=5)
    model.add_adapter("second", FlareConfig(task_type="SEQ_CLS", r=4))
    assert list(model.peft_config["second"].modules_to_save) == list(model.peft_config["default"].modules_to_save)


@pytest.mark.parametrize("low_memory", [False, True])
@pytest.mark.parametrize("kind", OPTIONS)
def test_a_saved_adapter_is_loaded_by_peft(kind: str, low_memory: bool, tmp_path: Path) -> None:
    model, inputs = alone(**OPTIONS[kind]), given(OPTIONS[kind])
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(small(), tmp_path, low_cpu_mem_usage=low_memory).eval()
    torch.testing.assert_close(logits(loaded, inputs), logits(model, inputs), **CLOSE)


def old_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors with the projection of latents in the first fusing layer."""
    first = "bert.encoder.layer.0.attention.self.query"
    return {name.replace(PLACE, first): tensor for name, tensor in tensors.items()}


def test_names_of_older_adapters_are_loaded_by_peft() -> None:
    options = OPTIONS["latents"]
    model, fresh = alone(**options), flare(small(), seed=9, **options)
    found = set_peft_model_state_dict(fresh, old_names(get_peft_model_state_dict(model)))
    assert not found.unexpected_keys
    torch.testing.assert_close(logits(fresh, given(options)), logits(model, given(options)), **CLOSE)


def test_names_of_older_models_are_loaded_by_torch() -> None:
    options = OPTIONS["latents"]
    model, fresh = alone(**options), flare(small(), seed=9, **options)
    fresh.load_state_dict(old_names(model.state_dict()))
    torch.testing.assert_close(logits(fresh, given(options)), logits(model, given(options)), **CLOSE)


def test_a_folder_of_an_adapter_is_a_model_for_transformers(tmp_path: Path) -> None:
    small().save_pretrained(tmp_path / "base")
    base = BertForSequenceClassification.from_pretrained(tmp_path / "base")
    model = flare(base)
    model.save_pretrained(tmp_path / "adapter")
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "adapter", num_labels=3).eval()
    torch.testing.assert_close(logits(loaded, batch().both()), logits(model, batch().both()), **CLOSE)
    assert model.get_model_status().active_adapters == ["default"]


def test_a_second_adapter_leaves_what_is_trained_of_the_first() -> None:
    model = flare(small(), fusion="cross_attention")

    def trained() -> list[str]:
        return [name for name, weight in model.named_parameters() if ".default" in name and weight.requires_grad]

    before = trained()
    assert any("lora_fusion" in name for name in before)
    model.add_adapter("frozen", FlareConfig(task_type="SEQ_CLS", r=4, inference_mode=True))
    assert trained() == before
    model.set_requires_grad("default", False)
    model.add_adapter("third", FlareConfig(task_type="SEQ_CLS", r=4))
    assert trained() == []


def test_a_second_injection_reads_its_source() -> None:
    base, only = small(), small()
    inject_adapter_in_model(FlareConfig(r=4), base, "first")
    inject_adapter_in_model(FlareConfig(r=4, fusion="mul"), base, "second")
    inject_adapter_in_model(FlareConfig(r=4, fusion="mul"), only, "second")
    for model in (base, only):
        randomise(model, adapter="second")  # type: ignore[arg-type]
        activate(model.eval(), "second")
    torch.testing.assert_close(logits(base, batch().both()), logits(only, batch().both()), **CLOSE)
    assert not torch.allclose(logits(base, batch().both()), logits(base, batch().target))


@pytest.mark.parametrize("order", [("plain", "flare"), ("flare", "plain")])
def test_the_source_is_read_without_a_lora_beside(order: tuple[str, str]) -> None:
    base = small()
    for name in order:
        plain = LoraConfig(r=4, target_modules=["query", "value", "dense"])
        inject_adapter_in_model(plain if name == "plain" else FlareConfig(r=4), base, name)
        randomise(base, adapter=name)  # type: ignore[arg-type]
    activate(base.eval(), ["flare", "plain"])
    both = batch()
    source = base(**both.both()).source_logits
    torch.testing.assert_close(source, logits(small(), both.source), **CLOSE)


def test_a_target_outside_of_the_blocks_takes_no_part_in_reading_the_source() -> None:
    model = flare(small(), target_modules=["query", "value", "word_embeddings"])
    both = batch()
    torch.testing.assert_close(model(**both.both()).source_logits, logits(small(), both.source), **CLOSE)
    assert not torch.allclose(logits(model, both.target), logits(flare(small()), both.target))


def test_trained_embeddings_and_heads_take_no_part_in_reading_the_source() -> None:
    base = build_writer("llama")
    model = adapted("llama", base=base, modules_to_save=["embed_tokens", "lm_head"])
    inputs = prompts("llama", [5, 3], [4, 6])
    before = model(**inputs).source_logits
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "modules_to_save" in name:
                weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    assert torch.equal(model(**inputs).source_logits, before)
    assert write(model, inputs).shape == (2, 6)


def test_without_adapters_a_source_changes_nothing() -> None:
    model = flare(small(), task_type=None)
    tuner = model.base_model
    tuner.delete_adapter("default")
    assert torch.equal(logits(tuner, batch().both()), logits(small(), batch().target))


def refused(change: Callable[[FlareConfig], None]) -> None:
    base, fresh = small(), small()
    config = FlareConfig(r=4)
    change(config)
    with pytest.raises(UserError):
        get_peft_model(base, config)
    assert [type(module) for module in base.modules()] == [type(module) for module in fresh.modules()]
    assert hooks(base) == 0
    assert set(vars(base)) == set(vars(fresh))
    assert all(weight.requires_grad for weight in base.parameters())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("use_dora", True),
        ("bias", "all"),
        ("rank_pattern", {"query": 2}),
        ("init_lora_weights", "pissa"),
        ("fusion", "ad_relu"),
        ("lead", 5),
        ("target_modules", ["query"]),
        ("fusion_modules", ["nowhere"]),
    ],
)
def test_what_is_refused_when_set_later_leaves_the_base_as_it_was(name: str, value: Any) -> None:
    refused(lambda config: setattr(config, name, value))


@pytest.mark.parametrize("times", [1, 2])
def test_unload_leaves_nothing(times: int) -> None:
    base, fresh = small(), small()
    for at in range(times):
        model = get_peft_model(base, FlareConfig(r=4, mt_dim=5), f"adapter{at}")
    base = model.unload()
    assert [type(module) for module in base.modules()] == [type(module) for module in fresh.modules()]
    assert hooks(base) == len(base._load_state_dict_pre_hooks) == 0
    assert set(vars(base)) == set(vars(fresh))


def test_a_forward_of_the_users_own_is_kept() -> None:
    base = small()
    plain = base.forward

    def doubled(*args: Any, **kwargs: Any) -> Any:
        output = plain(*args, **kwargs)
        output.logits = 2 * output.logits
        return output

    base.forward = doubled
    model = flare(base)
    torch.testing.assert_close(logits(model, batch().target), 2 * logits(flare(small()), batch().target), **CLOSE)
    assert model.unload().forward is doubled
