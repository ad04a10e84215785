"""A stranger's FLARE adapter on the ways of peft and transformers: the checks are those of `load_adapter`."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model
from peft.utils.hotswap import hotswap_adapter
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

import crossflare
from crossflare.errors import UserError
from crossflare.fusion.saved.adapter_check import CONFIG, WEIGHTS
from fusion_models import batch, build, flare, logits
from hub_cache import hub_snapshot
from model_state import same, state

EMBEDDINGS = "base_model.model.bert.embeddings.word_embeddings.weight"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What peft saves, with the base model beside it."""
    place = tmp_path_factory.mktemp("saved")
    build("bert", dtype=torch.float32).save_pretrained(place / "base")
    model = flare(build("bert", dtype=torch.float32))
    model.peft_config["default"].base_model_name_or_path = str(place / "base")
    model.save_pretrained(place / "adapter")
    return place / "adapter"


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "adapter"))


def base() -> Any:
    return build("bert", dtype=torch.float32)


def with_peft(folder: Path, model: Any) -> Any:
    return PeftModel.from_pretrained(model, folder)


def beside_another(folder: Path, model: Any) -> Any:
    wrapped = flare(model, r=2)
    wrapped.load_adapter(str(folder), "second")
    wrapped.set_adapter("second")
    return wrapped


def with_transformers(folder: Path, model: Any) -> Any:
    model.load_adapter(str(folder))
    return model


def of_a_config(folder: Path, model: Any) -> Any:
    return PeftModel.from_pretrained(model, folder, config=PeftConfig.from_pretrained(folder))


def with_a_config_of_ones_own(folder: Path, model: Any) -> Any:
    own = crossflare.FlareConfig(task_type="SEQ_CLS", r=4, lora_alpha=8)
    return PeftModel.from_pretrained(model, folder, config=own)


def by_auto_class(folder: Path, model: Any) -> Any:
    return AutoModelForSequenceClassification.from_pretrained(folder, num_labels=3)


ROUTES = [with_peft, beside_another, with_transformers, of_a_config, with_a_config_of_ones_own, by_auto_class]


def config(folder: Path, **values: Any) -> None:
    content = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(content | values))


def tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    content = load_file(folder / WEIGHTS)
    change(content)
    save_file(content, folder / WEIGHTS, metadata={"format": "pt"})


def _extra(folder: Path) -> None:
    words = torch.zeros_like(base().bert.embeddings.word_embeddings.weight)
    tensors(folder, lambda content: content.update({EMBEDDINGS: words}))


def _declared(folder: Path) -> None:
    _extra(folder)
    config(folder, modules_to_save=["classifier", "word_embeddings"])


def _nan(folder: Path) -> None:
    tensors(folder, lambda content: next(iter(content.values())).fill_(float("nan")))


def _huge(folder: Path) -> None:
    tensors(folder, lambda content: next(iter(content.values())).fill_(1e30))


def _missing(folder: Path) -> None:
    tensors(folder, lambda content: content.pop(next(name for name in content if "lora_A" in name)))


def _misshapen(folder: Path) -> None:
    config(folder, r=3)


def _pickle(folder: Path) -> None:
    torch.save(load_file(folder / WEIGHTS), folder / "adapter_model.bin")
    (folder / WEIGHTS).unlink()


def _twice(folder: Path) -> None:
    (folder / CONFIG).write_text('{"r": 1, ' + (folder / CONFIG).read_text().lstrip("{ \n"))


def _escaped(folder: Path) -> None:
    _extra(folder)
    text = (folder / CONFIG).read_text()
    assert '"FLARE"' in text
    (folder / CONFIG).write_text(text.replace('"FLARE"', '"\\u0046LARE"'))


def _deep(folder: Path) -> None:
    config(folder)
    text = (folder / CONFIG).read_text()
    (folder / CONFIG).write_text(text[:-1] + ', "a": ' + "[" * 40_000 + "]" * 40_000 + "}")


DAMAGE: list[tuple[Callable[[Path], None], str]] = [
    (_extra, "is no adapter's tensor"),
    (_declared, r"modules_to_save would replace .*word_embeddings, which belongs to the base"),
    (_nan, "not finite"),
    (_huge, "above 1e"),
    (_missing, "do not fit this base model and configuration: missing"),
    (_misshapen, r"expected \[3, 16\]"),
    (_pickle, "has only pickled weights"),
    (_twice, "the key 'r' stands there twice"),
    (_escaped, "is no adapter's tensor"),
    (_deep, "levels inside each other"),
    (lambda folder: config(folder, lora_alpha=1e308), "lora_alpha must be"),
    (lambda folder: config(folder, surprise=1), "unknown key 'surprise'"),
    (lambda folder: config(folder, layers_pattern="(([a-z._0-9])+)+!", layers_to_transform=[0]), "layers_pattern must"),
    (lambda folder: config(folder, layers_pattern=["a"] * 9000), "layers_pattern has 9000 entries"),
    (lambda folder: config(folder, target_modules="(a+)+$"), "target_modules must be a list"),
    (lambda folder: config(folder, r=10**7), "r must be a whole number from 1 to 4096"),
]
NAMES = [each.__name__.strip("_") if each.__name__ != "<lambda>" else said[:20] for each, said in DAMAGE]


@pytest.mark.parametrize("route", ROUTES)
def test_control_a_sound_folder_loads(folder: Path, route: Any) -> None:
    loaded = route(folder, base()).eval()
    expected = logits(flare(base()), batch().both())
    assert torch.equal(logits(loaded, batch().both()), expected)


@pytest.mark.parametrize(("damage", "said"), DAMAGE, ids=NAMES)
def test_what_load_adapter_would_refuse(folder: Path, damage: Callable[[Path], None], said: str) -> None:
    """By peft's own way; the others read the same configuration, see below."""
    damage(folder)
    model = base()
    before = state(model)
    with pytest.raises(UserError, match=said) as caught:
        with_peft(folder, model)
    assert same(before, state(model))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", [_extra, _declared, _missing, _pickle])
@pytest.mark.parametrize("route", ROUTES[1:])
def test_every_way_makes_the_checks(folder: Path, route: Any, damage: Callable[[Path], None]) -> None:
    damage(folder)
    model = base()
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(UserError):
        route(folder, model)
    now = {name.replace(".base_layer", "").replace(".original_module", ""): t for name, t in model.state_dict().items()}
    assert all(torch.equal(now[name], tensor) for name, tensor in weights.items())


@pytest.mark.parametrize("damage", [_extra, _declared, _nan, _pickle])
def test_weights_that_are_loaded_again_are_checked_again(folder: Path, damage: Callable[[Path], None]) -> None:
    model = with_peft(folder, base())
    other = Path(shutil.copytree(folder, folder.parent / "other"))
    model.load_adapter(str(other), "default")
    expected = logits(model, batch().both())
    damage(other)
    with pytest.raises(UserError):
        model.load_adapter(str(other), "default")
    with pytest.raises(UserError, match="are checked in a folder"):
        model.load_adapter("somebody/adapter", "default")
    assert torch.equal(logits(model, batch().both()), expected)


@pytest.mark.parametrize("damage", [_extra, _nan, _pickle])
def test_hotswap_reads_nothing_that_is_damaged(folder: Path, damage: Callable[[Path], None]) -> None:
    model = with_peft(folder, base())
    expected = logits(model, batch().both())
    damage(folder)
    with pytest.raises(UserError):
        hotswap_adapter(model, str(folder), "default")
    assert torch.equal(logits(model, batch().both()), expected)


def test_a_folder_of_ours_is_held_to_its_manifest_its_base_and_its_stage_1(tmp_path: Path) -> None:
    model = base()
    identity = crossflare.identify(model, "tiny")
    first = get_peft_model(model, LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query"]))
    crossflare.save_adapter(first, tmp_path / "one", base=identity)
    second = flare(first.merge_and_unload())
    crossflare.save_adapter(second, tmp_path / "two", base=identity, source_task=tmp_path / "one")
    with pytest.raises(UserError, match=r"its stage 1 .* must be merged .* crossflare\.load_adapter"):
        with_peft(tmp_path / "two", base())
    crossflare.save_adapter(second, tmp_path / "alone", base=identity)
    with_peft(tmp_path / "alone", base())
    with pytest.raises(UserError, match="the adapter was trained on tiny"):
        with_peft(tmp_path / "alone", build("bert", dtype=torch.float32, seed=1))
    with (tmp_path / "alone" / WEIGHTS).open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x01")
    with pytest.raises(UserError, match="is not the file that was saved"):
        with_peft(tmp_path / "alone", base())


def test_other_methods_of_peft_are_read_as_ever(tmp_path: Path) -> None:
    get_peft_model(base(), LoraConfig(r=2, target_modules="all-linear")).save_pretrained(tmp_path)
    config(tmp_path, surprise=1)
    with pytest.warns(UserWarning, match="surprise"):
        assert type(PeftConfig.from_pretrained(tmp_path)) is LoraConfig


def test_a_configuration_alone_is_read_and_can_start_a_new_adapter(tmp_path: Path) -> None:
    crossflare.FlareConfig(task_type="SEQ_CLS", r=3).save_pretrained(tmp_path)
    again = crossflare.FlareConfig.from_pretrained(tmp_path)
    assert get_peft_model(base(), again).peft_config["default"].r == 3


def test_a_name_on_the_hub_is_checked_in_the_cache(folder: Path, tmp_path: Path) -> None:
    hub_snapshot(folder, tmp_path / "sound")
    loaded = PeftModel.from_pretrained(base(), "a/b", cache_dir=str(tmp_path / "sound")).eval()
    assert torch.equal(logits(loaded, batch().both()), logits(flare(base()), batch().both()))
    _extra(folder)
    hub_snapshot(folder, tmp_path / "hostile")
    with pytest.raises(UserError, match="is no adapter's tensor"):
        PeftModel.from_pretrained(base(), "a/b", cache_dir=str(tmp_path / "hostile"))
    _pickle(folder)
    hub_snapshot(folder, tmp_path / "pickled")
    with pytest.raises(UserError, match=r"a/b: .*cannot be fetched .* only safetensors are read"):
        PeftModel.from_pretrained(base(), "a/b", cache_dir=str(tmp_path / "pickled"))


def test_what_peft_saved_is_told_how_to_become_ours(folder: Path) -> None:
    with pytest.raises(UserError) as caught:
        crossflare.open_adapter(folder)
    assert "saved by peft (save_pretrained)" in str(caught.value)
    assert "crossflare.save_adapter(model, folder, base=...)" in str(caught.value)
    model = PeftModel.from_pretrained(base(), folder)
    ours = folder.parent / "ours"
    crossflare.save_adapter(model, ours, base=crossflare.identify(base(), "bert"))
    with pytest.raises(UserError, match="its card does not say which labels it predicts"):
        crossflare.open_adapter(ours)  # it can be loaded, and was not trained by a recipe
    assert crossflare.load_adapter(base(), ours, base=crossflare.identify(base(), "bert")) is not None
