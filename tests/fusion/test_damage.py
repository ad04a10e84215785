"""Damaged and hostile adapter folders: refused in one line, with the base model as it was."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import crossflare
from crossflare.disk.files import MANIFEST, digest_file
from crossflare.errors import UserError
from crossflare.fusion.saved.adapter_config import SIZE_LIMIT, parse_config
from fusion_models import BLOCKS, HIDDEN, batch, build, flare, logits

WEIGHTS, CONFIG, CARD = "adapter_model.safetensors", "adapter_config.json", "crossflare.json"
FIRST = "base_model.model.bert.encoder.layer.0.attention.self.query.lora_A.weight"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = build("bert")
    identity = crossflare.identify(base, "tiny")
    folder = tmp_path_factory.mktemp("saved") / "adapter"
    crossflare.save_adapter(flare(base), folder, base=identity)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """Return a copy to damage."""
    place = tmp_path / "adapter"
    place.mkdir()
    for path in saved.iterdir():
        (place / path.name).write_bytes(path.read_bytes())
    return place


def reseal(folder: Path) -> None:
    """Write hashes that fit, as someone would who means harm."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.name != MANIFEST)
    hashes = {name: digest_file(folder / name) for name in names if (folder / name).is_file()}
    (folder / MANIFEST).write_text(json.dumps({"format": 1, "sha256": hashes}))


def refused(folder: Path, base: Any = None) -> str:
    """Return the message, and see that the base has not changed."""
    base = build("bert") if base is None else base
    before = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    modules = [name for name, _ in base.named_modules()]
    with pytest.raises(UserError) as caught:
        crossflare.load_adapter(base, folder)
    assert base.state_dict().keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in base.state_dict().items())
    assert [name for name, _ in base.named_modules()] == modules
    assert not base._forward_pre_hooks
    assert all(parameter.requires_grad for parameter in base.parameters())
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000
    return str(caught.value)


def edit(folder: Path, **values: Any) -> Path:
    """Change keys of the configuration and make the hashes fit."""
    content = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(content | values))
    reseal(folder)
    return folder


def test_the_sound_folder_loads(folder: Path) -> None:
    """The control of all the others; resealing by itself changes nothing."""
    reseal(folder)
    base = build("bert")
    model = crossflare.load_adapter(base, folder)
    assert torch.equal(logits(model, batch().both()), logits(flare(build("bert")), batch().both()))


def test_another_base_is_named(folder: Path) -> None:
    other = build("bert", seed=1)
    message = refused(folder, other)
    assert f"trained on tiny (d={HIDDEN}, {BLOCKS} blocks, " in message
    assert f"this base is BertForSequenceClassification (d={HIDDEN}, {BLOCKS} blocks, " in message


@pytest.mark.parametrize(
    ("options", "size"),
    [({"hidden_size": 24}, f"d=24, {BLOCKS} blocks"), ({"num_hidden_layers": 3}, f"d={HIDDEN}, 3 blocks")],
)
def test_a_base_of_another_size_is_named(folder: Path, options: dict[str, int], size: str) -> None:
    message = refused(folder, build("bert", **options))
    assert f"(d={HIDDEN}, {BLOCKS} blocks, " in message
    assert size in message


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG, CARD])
def test_missing_files(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert f"the manifest names '{name}', which is missing" in refused(folder)
    reseal(folder)
    assert f"{name} is missing; expected an adapter saved by crossflare (safetensors only)" in refused(folder)


def test_pickles_are_never_opened(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / "adapter_model.bin").write_bytes(b"not even a pickle")
    reseal(folder)
    assert "safetensors only" in refused(folder)
    (folder / MANIFEST).unlink()
    assert "no manifest.json" in refused(folder)


def test_a_flipped_bit(folder: Path) -> None:
    for name in (WEIGHTS, CONFIG, CARD):
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content)
        assert f"'{name}' is not the file that was saved (its sha256 differs)" in refused(folder)
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content)


@pytest.mark.parametrize("share", [0, 0.001, 0.01, 0.1, 0.5, 0.9, 0.9999])
def test_cut_off_weights_with_hashes_that_fit(folder: Path, share: float) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[: int(len(content) * share)])
    reseal(folder)
    assert "expected a whole safetensors file, but it is damaged" in refused(folder)


def nan(tensors: dict[str, torch.Tensor]) -> None:
    tensors[FIRST][0, 0] = float("nan")


def huge(tensors: dict[str, torch.Tensor]) -> None:
    tensors[FIRST][0, 0] = 1e7


def missing(tensors: dict[str, torch.Tensor]) -> None:
    del tensors[FIRST]


def missing_head(tensors: dict[str, torch.Tensor]) -> None:
    del tensors["base_model.model.classifier.weight"]


def unexpected(tensors: dict[str, torch.Tensor]) -> None:
    tensors["base_model.model.bert.embeddings.word_embeddings.weight"] = torch.zeros(2)


def misshapen(tensors: dict[str, torch.Tensor]) -> None:
    tensors[FIRST] = tensors[FIRST].T.contiguous()


def integers(tensors: dict[str, torch.Tensor]) -> None:
    tensors[FIRST] = tensors[FIRST].long()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (nan, f"{FIRST} holds numbers that are not finite or above 1e+06"),
        (huge, f"{FIRST} holds numbers that are not finite or above 1e+06"),
        (missing, f"the tensors do not fit this base model and configuration: missing {FIRST}"),
        (missing_head, "missing base_model.model.classifier.weight"),
        (unexpected, "unexpected base_model.model.bert.embeddings.word_embeddings.weight"),
        (misshapen, f"{FIRST} is [{HIDDEN}, 4], expected [4, {HIDDEN}]"),
        (integers, f"{FIRST} is of type I64, expected F64, F32, F16, BF16"),
    ],
)
def test_wrong_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], None], message: str) -> None:
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS)
    reseal(folder)
    assert message in refused(folder)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"target_modules": ["(a+)+$"]}, "target_modules must be a list of module names, got ['(a+)+$']"),
        ({"target_modules": "query"}, "target_modules must be a list of module names, got 'query'"),
        ({"exclude_modules": "(a+)+$"}, "exclude_modules must be a list of module names"),
        ({"layers_pattern": "(a+)+$"}, "layers_pattern must be a name or a list"),
        ({"fusion_modules": [1]}, "fusion_modules must be a list of module names, got [1]"),
        ({"modules_to_save": ["no such module"]}, "modules_to_save must be a list of module names"),
        ({"target_modules": ["key"]}, "0 of 4 projections named query, value would fuse"),
        ({"target_modules": []}, "0 of 4 projections named query, value would fuse"),
        ({"r": 10**9}, "r must be a whole number from 1 to 4096, got 1000000000"),
        ({"r": "4"}, "r must be a whole number from 1 to 4096, got '4'"),
        ({"r": True}, "r must be a whole number from 1 to 4096, got True"),
        ({"r": 5}, f"{FIRST} is [4, {HIDDEN}], expected [5, {HIDDEN}]"),
        ({"lora_alpha": float("nan")}, "lora_alpha must be a number above 0 and at most 1e6, got nan"),
        ({"lora_dropout": "much"}, "lora_dropout must be a number from 0 to 0.999, got 'much'"),
        ({"rank_pattern": {"(a+)+$": 4}}, "rank_pattern is not accepted from files"),
        ({"use_dora": True}, "use_dora is not accepted from files, got True; remove it"),
        ({"megatron_config": {}}, "megatron_config is not accepted from files"),
        ({"surprise": 1}, "unknown key 'surprise'"),
        ({"lora_alphas": 1}, "unknown key 'lora_alphas'; did you mean 'lora_alpha'?"),
        ({"peft_type": "ADALORA"}, "expected an adapter of type FLARE or LORA, got ADALORA"),
        ({"peft_type": []}, "expected an adapter of type FLARE or LORA, got []"),
        ({"task_type": "DANCE"}, "task_type must be one of peft's task types, got 'DANCE'"),
        ({"fusion": "adds"}, "unknown fusion 'adds': did you mean 'add'?"),
        ({"fusion": "cross_attention", "alignment": "none"}, "missing base_model.model.bert.encoder.layer.0"),
        ({"flare_format": 3}, "adapter format 3 is newer than this crossflare's 2"),
        ({"mt_dim": 3}, "lora_latents"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_wrong_configurations(folder: Path, values: dict[str, Any], message: str) -> None:
    assert message in refused(edit(folder, **values))


def test_code_named_in_the_configuration_is_not_looked_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "this", raising=False)
    edit(folder, auto_mapping={"parent_library": "this", "base_model_class": "s"}, megatron_core="this")
    crossflare.load_adapter(build("bert"), folder)
    assert "this" not in sys.modules


@pytest.mark.parametrize("content", ["[]", "null", "3", '"FLARE"', "{", "", "[" * 99999])
def test_configurations_that_are_no_objects(folder: Path, content: str) -> None:
    (folder / CONFIG).write_text(content)
    reseal(folder)
    assert CONFIG in refused(folder)


def test_a_very_large_configuration_is_not_read(folder: Path) -> None:
    (folder / CONFIG).write_text('{"a": "' + "x" * 10_000_000 + '"}')
    reseal(folder)
    assert f"bytes, expected at most {SIZE_LIMIT}; not one of ours" in refused(folder)


@pytest.mark.parametrize(
    "base", [None, 3, {}, {"name": 1}, {"name": "a", "digest": "b", "hidden_size": "x", "blocks": 1}]
)
def test_wrong_cards(folder: Path, base: Any) -> None:
    (folder / CARD).write_text(json.dumps({"base": base}))
    reseal(folder)
    assert CARD in refused(folder)


def test_a_bad_stage_one_is_found_before_anything_is_merged(folder: Path) -> None:
    stage = folder / "source_task"
    stage.mkdir()
    for name in (WEIGHTS, CONFIG):
        (stage / name).write_bytes((folder / name).read_bytes())
    reseal(folder)
    assert "source_task" in refused(edit(stage, r=7).parent)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_value_under_any_key_gives_a_configuration_or_one_line(saved: Path, tmp_path: Path, data: Any) -> None:
    content = json.loads((saved / CONFIG).read_text())
    key = data.draw(st.sampled_from(sorted(content)))
    path = tmp_path / CONFIG
    path.write_text(json.dumps(content | {key: data.draw(VALUES)}))
    message = f"{path} is fine"
    try:
        parse_config(path)
    except UserError as error:  # anything else that is raised fails the test
        message = str(error)
    assert str(path) in message
    assert "\n" not in message
