"""Adapters on disk and in memory: what is loaded is what was saved, by crossflare's files and by peft's."""

import copy
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor

import crossflare
from crossflare.errors import UserError
from crossflare.fusion.identity import BaseIdentity
from crossflare.fusion.saved.adapter_files import adapter_tensors
from fusion_models import FAMILIES, batch, build, flare, logits, plain_lora, randomise

SETTINGS: dict[str, dict[str, Any]] = {
    "add_relu": {},
    "weighted": {"fusion": "cross_attention", "target_modules": ["query", "key", "value"]},
    "published": {"fusion": "cross_attention_paper", "alignment": "proportional", "lead": 0},
    "flare_mt": {"mt_dim": 5, "fusion": "mul", "alignment": "attention", "use_rslora": True},
    "some_layers": {"layers_to_transform": [1], "source_norm": False, "source_dropout": 0.25},
}


def inputs(model: PeftModel) -> dict[str, Tensor]:
    both = batch([7, 4, 5], [5, 8, 0])
    if model.peft_config["default"].mt_dim is None:
        return both.both()
    latents = torch.randn(3, 8, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    return both.target | {"source_latents": latents, "source_attention_mask": both.source["attention_mask"]}


def trained(family: str, **options: Any) -> tuple[PeftModel, BaseIdentity]:
    """Return a model whose adapter and head differ from the first ones, and the base's identity."""
    base = build(family)
    identity = crossflare.identify(base)
    model = flare(base, **options)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "modules_to_save" in name:
                parameter.add_(0.5)
    return model, identity


def fresh(family: str) -> Any:
    """Return the same base with another head, as a user who loads an adapter has it."""
    base = build(family)
    backbone = base.base_model_prefix
    with torch.no_grad():
        for name, parameter in base.named_parameters():
            if not name.startswith(f"{backbone}."):
                parameter.normal_()
    return base


def same_tensors(one: PeftModel, other: PeftModel) -> None:
    mine, theirs = adapter_tensors(one), adapter_tensors(other)
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def digest(model: Any) -> str:
    found = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if "lora_" not in name and "modules_to_save" not in name:
            found.update(tensor.numpy().tobytes())
    return found.hexdigest()


@pytest.mark.parametrize("setting", SETTINGS)
def test_save_and_load_bit_for_bit(setting: str, tmp_path: Path) -> None:
    model, identity = trained("bert", **SETTINGS[setting])
    crossflare.save_adapter(model, tmp_path / "adapter", base=identity)
    base = fresh("bert")
    before = digest(base)
    loaded = crossflare.load_adapter(base, tmp_path / "adapter")
    same_tensors(loaded, model)
    assert digest(base) == before
    assert torch.equal(logits(loaded, inputs(model)), logits(model, inputs(model)))
    for name in ("fusion", "alignment", "lead", "source_norm", "source_dropout", "mt_dim", "fusion_modules", "r"):
        assert getattr(loaded.peft_config["default"], name) == getattr(model.peft_config["default"], name)
    crossflare.save_adapter(loaded, tmp_path / "again", base=identity)
    again = crossflare.load_adapter(fresh("bert"), tmp_path / "again")
    same_tensors(again, model)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_whole_head_comes_back(family: str, tmp_path: Path) -> None:
    model, identity = trained(family)
    crossflare.save_adapter(model, tmp_path / "adapter", base=identity)
    loaded = crossflare.load_adapter(fresh(family), tmp_path / "adapter")
    assert torch.equal(logits(loaded, batch().both()), logits(model, batch().both()))
    other = logits(get_peft_model(fresh(family), crossflare.FlareConfig(task_type="SEQ_CLS")), batch().target)
    assert not torch.equal(other, logits(build(family), batch().target))  # control: heads do differ


@pytest.mark.parametrize("low_memory", [False, True])
@pytest.mark.parametrize("setting", SETTINGS)
def test_pefts_own_save_and_load(setting: str, low_memory: bool, tmp_path: Path) -> None:
    model, _ = trained("bert", **SETTINGS[setting])
    model.save_pretrained(tmp_path)
    assert not list(tmp_path.glob("*.bin"))
    loaded = PeftModel.from_pretrained(fresh("bert"), tmp_path, low_cpu_mem_usage=low_memory).eval()
    same_tensors(loaded, model)
    assert torch.equal(logits(loaded, inputs(model)), logits(model, inputs(model)))


def test_stage_one_travels_with_the_adapter(tmp_path: Path) -> None:
    base = build("bert")
    identity = crossflare.identify(base)
    first = get_peft_model(base, LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query", "value", "dense"]))
    randomise(first, 0.2)
    crossflare.save_adapter(first, tmp_path / "one", base=identity)
    model = flare(first.merge_and_unload())
    crossflare.save_adapter(model, tmp_path / "two", base=identity, source_task=tmp_path / "one", card={"task": "t"})
    loaded = crossflare.load_adapter(fresh("bert"), tmp_path / "two")
    torch.testing.assert_close(logits(loaded, batch().both()), logits(model, batch().both()), rtol=0, atol=1e-12)
    alone = logits(crossflare.load_adapter(fresh("bert"), tmp_path / "one"), batch().target)
    assert (alone - logits(loaded, batch().target)).abs().max() > 1e-3


def test_what_could_not_be_loaded_is_not_saved(tmp_path: Path) -> None:
    base = build("bert")
    identity = crossflare.identify(base)
    model = flare(base, modules_to_save=["word_embeddings"])
    with pytest.raises(UserError, match=r"trains .*word_embeddings whole \(modules_to_save\)"):
        crossflare.save_adapter(model, tmp_path / "adapter", base=identity)
    assert not (tmp_path / "adapter").exists()


@pytest.mark.slow  # starts Python
def test_stock_peft_refuses_the_adapter_loudly(tmp_path: Path) -> None:
    model, _ = trained("bert")
    model.save_pretrained(tmp_path / "adapter")
    model.get_base_model().config.save_pretrained(tmp_path / "base")
    code = f"""
import sys
from peft import PeftModel
from transformers import AutoConfig, AutoModelForSequenceClassification
base = AutoModelForSequenceClassification.from_config(AutoConfig.from_pretrained({str(tmp_path / "base")!r}))
assert not any(name.startswith("crossflare") for name in sys.modules)
PeftModel.from_pretrained(base, {str(tmp_path / "adapter")!r})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=280)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == "KeyError: 'FLARE'"


@pytest.mark.slow  # starts Python
def test_import_order_does_not_matter() -> None:
    code = "import {}; import {}; import peft; assert 'FLARE' in peft.mapping.PEFT_TYPE_TO_TUNER_MAPPING"
    for order in (("peft", "crossflare"), ("crossflare", "peft")):
        subprocess.run([sys.executable, "-c", code.format(*order)], check=True, timeout=280)


def test_several_adapters_on_one_base(tmp_path: Path) -> None:
    given = batch().both()
    base, identity = build("bert"), crossflare.identify(build("bert"))
    plain = logits(base, batch().target)
    model = flare(base)
    one = logits(model, given)
    model.add_adapter(
        "value",  # the name of a projection, too
        crossflare.FlareConfig(task_type="SEQ_CLS", r=2, fusion="cross_attention", lead=0),
    )
    randomise(model, adapter="value", seed=8)
    assert torch.equal(logits(model, given), one)
    model.set_adapter("value")
    two = logits(model, given)
    assert (one - two).abs().max() > 1e-3
    trains = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert all(".value" in name.partition("lora_")[2] or "modules_to_save.value" in name for name in trains)
    assert any("lora_fusion.value" in name for name in trains)
    with model.disable_adapter():
        assert torch.equal(logits(model, given), plain)
        assert torch.equal(logits(model, batch().target), plain)
    assert torch.equal(logits(model, given), two)
    crossflare.save_adapter(model, tmp_path / "two", base=identity, adapter="value")
    alone = crossflare.load_adapter(fresh("bert"), tmp_path / "two")
    torch.testing.assert_close(logits(alone, given), two, rtol=0, atol=1e-12)
    model.delete_adapter("default")
    assert torch.equal(logits(model, given), two)
    assert not [name for name, _ in model.named_parameters() if "default" in name]
    model.add_adapter("third", crossflare.FlareConfig(task_type="SEQ_CLS", r=2))
    assert len(base._forward_pre_hooks) == 1
    assert torch.equal(logits(model, given), two)


def test_deleting_an_adapter_removes_all_of_it() -> None:
    model = flare(build("bert"), mt_dim=5, fusion="cross_attention")
    model.add_adapter("other", crossflare.FlareConfig(task_type="SEQ_CLS", r=2))
    model.set_adapter("other")
    expected = logits(model, batch().both())
    model.delete_adapter("default")
    assert not [name for name in model.state_dict() if ".default" in name]
    assert torch.equal(logits(model, batch().both()), expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_unload_gives_the_base_back(family: str) -> None:
    model = flare(build(family))
    model(**batch().both())  # leaves a frame
    base = model.unload()
    assert torch.equal(logits(base, batch().target), logits(build(family), batch().target))
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in base.modules())


@pytest.mark.parametrize("family", ["bert", "deberta"])
def test_a_deep_copy_computes_the_same_and_is_independent(family: str) -> None:
    given, model = batch().both(), flare(build(family), fusion="cross_attention").train()
    model(**given).logits.sum().backward()  # in the middle of training
    twin = copy.deepcopy(model)
    assert twin.base_model.attachment is not model.base_model.attachment
    assert twin.base_model.attachment.model is twin.get_base_model()
    model.eval()
    twin.eval()
    expected = logits(model, given)
    assert torch.equal(logits(twin, given), expected)
    randomise(twin, seed=99)
    changed = logits(twin, given)
    assert not torch.equal(changed, expected)
    assert torch.equal(logits(model, given), expected)
    with torch.no_grad():
        twin(**given)
        assert model(**given).source_logits is not None
    assert torch.equal(logits(twin, given), changed)


class TestExport:
    @pytest.mark.parametrize("fusion", ["add", "mul", "cross_attention"])
    def test_stock_lora_equal_without_a_source(self, fusion: str, tmp_path: Path) -> None:
        model, _ = trained("bert", fusion=fusion, lora_alpha=5)
        crossflare.export_plain_lora(model, tmp_path / "lora")
        loaded = PeftModel.from_pretrained(fresh("bert"), tmp_path / "lora").eval()
        assert type(loaded.peft_config["default"]) is LoraConfig
        torch.testing.assert_close(logits(loaded, batch().target), logits(model, batch().target), rtol=0, atol=1e-12)

    def test_the_relu_forms_are_refused(self, tmp_path: Path) -> None:
        model, _ = trained("bert")
        with pytest.raises(UserError, match=r"add_relu without a source is relu\(T\), which no LoRA computes"):
            crossflare.export_plain_lora(model, tmp_path / "lora")
        assert not (tmp_path / "lora").exists()

    def test_a_plain_lora_needs_none(self, tmp_path: Path) -> None:
        lora = plain_lora(build("bert"), flare(build("bert")))
        with pytest.raises(UserError, match=r"adapter 'default' is .*LORA, expected FLARE"):
            crossflare.export_plain_lora(lora, tmp_path / "lora")


@pytest.mark.parametrize("own", [True, False])
def test_the_released_setting_comes_back_and_is_not_written_where_it_is_off(tmp_path: Path, own: bool) -> None:
    """Adapters from before it was known, and those that do not use it, are the same files."""
    both = batch([8, 4], [5, 8]).both()
    for released in (True, False):
        base, folder = build("bert"), tmp_path / str(released)
        identity = crossflare.identify(base)
        model = flare(base, released=released)
        if own:
            crossflare.save_adapter(model, folder, base=identity)
            back = crossflare.load_adapter(build("bert"), folder)
        else:
            model.save_pretrained(str(folder))
            back = PeftModel.from_pretrained(build("bert"), str(folder)).eval()
        assert torch.equal(logits(back, both), logits(model, both))
        assert ("released" in json.loads((folder / "adapter_config.json").read_text())) == released


def test_a_released_adapter_alone_is_a_plain_lora(tmp_path: Path) -> None:
    model = flare(build("bert"), released=True)
    crossflare.export_plain_lora(model, tmp_path / "lora")
    lora = PeftModel.from_pretrained(build("bert"), str(tmp_path / "lora")).eval()
    torch.testing.assert_close(logits(lora, batch().target), logits(model, batch().target), rtol=0, atol=1e-12)
