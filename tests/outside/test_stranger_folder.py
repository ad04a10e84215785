"""A stranger's adapter folder: only listed, regular, bounded files are opened; a refusal leaves the model as it was."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

import crossflare
from crossflare.disk.files import CARD, MANIFEST, digest_file, open_dir
from crossflare.disk.untrusted import read_regular, regular
from crossflare.errors import UserError
from crossflare.fusion.latents import KIND, PLACE
from crossflare.fusion.saved.adapter_check import CONFIG, SOURCE_TASK, WEIGHTS
from fusion_models import batch, build, flare, logits, randomise
from hub_cache import hub_snapshot
from model_state import same, state


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter on top of a stage 1."""
    place, base = tmp_path_factory.mktemp("saved"), build("bert")
    identity = crossflare.identify(base, "tiny")
    first = get_peft_model(base, LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query", "dense"]))
    randomise(first, 0.2)
    crossflare.save_adapter(first, place / "one", base=identity)
    model = flare(first.merge_and_unload())
    crossflare.save_adapter(model, place / "two", base=identity, source_task=place / "one")
    return place / "two"


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "adapter"))


def seal(folder: Path, **hashes: str) -> None:
    """Write a manifest that fits, as someone would who means harm."""
    files = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    own = {name: digest_file(folder / name) for name in files if name != MANIFEST}
    (folder / MANIFEST).write_text(json.dumps({"format": 1, "sha256": own | hashes}))


def refused(folder: Path) -> str:
    base = build("bert")
    before = state(base)
    with pytest.raises(UserError) as caught:
        crossflare.load_adapter(base, folder)
    assert same(before, state(base))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_control_the_folder_loads_and_changes_the_model(folder: Path) -> None:
    seal(folder)
    base = build("bert")
    before = state(base)
    crossflare.load_adapter(base, folder)
    assert len(state(base)[0]) != len(before[0])
    query = base.bert.encoder.layer[0].attention.self.query.base_layer.weight
    assert not torch.equal(query, build("bert").bert.encoder.layer[0].attention.self.query.weight)


def _unlisted_stage(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["sha256"] = {name: each for name, each in manifest["sha256"].items() if not name.startswith(SOURCE_TASK)}
    (folder / MANIFEST).write_text(json.dumps(manifest))


def _stage_elsewhere(folder: Path) -> None:
    os.replace(folder / SOURCE_TASK, folder.parent / "elsewhere")
    (folder / SOURCE_TASK).symlink_to(folder.parent / "elsewhere")


def _link(folder: Path) -> None:
    os.replace(folder / WEIGHTS, folder.parent / "weights")
    (folder / WEIGHTS).symlink_to(folder.parent / "weights")


def _link_inside(folder: Path) -> None:
    (folder / SOURCE_TASK / WEIGHTS).unlink()
    (folder / SOURCE_TASK / WEIGHTS).symlink_to(folder / WEIGHTS)
    seal(folder)


def _pipe(folder: Path) -> None:
    (folder / SOURCE_TASK / CONFIG).unlink()
    os.mkfifo(folder / SOURCE_TASK / CONFIG)


def _pipe_as_manifest(folder: Path) -> None:
    (folder / MANIFEST).unlink()
    os.mkfifo(folder / MANIFEST)


def _device(folder: Path) -> None:
    (folder / CARD).unlink()
    (folder / CARD).symlink_to("/dev/zero")


def _device_as_manifest(folder: Path) -> None:
    (folder / MANIFEST).unlink()
    (folder / MANIFEST).symlink_to("/dev/zero")


def _sparse(folder: Path) -> None:
    with (folder / WEIGHTS).open("r+b") as file:
        file.truncate(1 << 40)


def _sparse_card(folder: Path) -> None:
    with (folder / CARD).open("r+b") as file:
        file.truncate(1 << 33)


def _unlisted_pipe(folder: Path) -> None:
    os.mkfifo(folder / "more")


def _unlisted_pickle(folder: Path) -> None:
    (folder / "adapter_model.bin").write_bytes(b"no pickle")


def _unlisted_in_stage(folder: Path) -> None:
    (folder / SOURCE_TASK / ".hidden").write_text("x")


def _listed_other(folder: Path) -> None:
    (folder / "modeling.py").write_text("raise SystemExit")
    seal(folder)


def _stage_without_weights(folder: Path) -> None:
    (folder / SOURCE_TASK / WEIGHTS).unlink()
    seal(folder)


def _flare_as_stage(folder: Path) -> None:
    for name in (WEIGHTS, CONFIG):
        shutil.copy(folder / name, folder / SOURCE_TASK / name)
    seal(folder)


def _damaged_stage(folder: Path) -> None:
    content = (folder / SOURCE_TASK / WEIGHTS).read_bytes()
    (folder / SOURCE_TASK / WEIGHTS).write_bytes(content[:-9])
    seal(folder)


def _infinite_merge(folder: Path) -> None:
    tensors = load_file(folder / SOURCE_TASK / WEIGHTS)
    tensors[next(name for name in tensors if "layer.1" in name and "lora_B" in name)][0, 0] = float("inf")
    save_file(tensors, folder / SOURCE_TASK / WEIGHTS, metadata={"format": "pt"})
    seal(folder)


def _doubled(folder: Path) -> None:
    """The projection of FLARE MT under its name and under the one that it had before."""
    tensors = {name: torch.zeros(2, 2) for name in (f"x.{KIND}.weight", f"base_model.model.{PLACE}.{KIND}.weight")}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    seal(folder)


def _long_header(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((99_000_000).to_bytes(8, "little") + b"{" * 99)
    seal(folder)


def _embeddings(folder: Path) -> None:
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(config | {"modules_to_save": ["classifier", "word_embeddings"]}))
    tensors = load_file(folder / WEIGHTS)
    words = torch.zeros(build("bert").bert.embeddings.word_embeddings.weight.shape)
    tensors["base_model.model.bert.embeddings.word_embeddings.weight"] = words
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    seal(folder)


DAMAGE: list[tuple[Callable[[Path], None], str]] = [
    (_unlisted_stage, "its manifest does not name 'source_task'"),
    (_stage_elsewhere, f"'{SOURCE_TASK}/.*' is a link, expected a file"),
    (_link, f"'{WEIGHTS}' is a link, expected a file"),
    (_link_inside, f"'{SOURCE_TASK}/{WEIGHTS}' is a link, expected a file"),
    (_pipe, f"'{SOURCE_TASK}/{CONFIG}' is no regular file"),
    (_pipe_as_manifest, f"'{MANIFEST}' is no regular file"),
    (_device, f"'{CARD}' is a link, expected a file"),
    (_device_as_manifest, f"'{MANIFEST}' is a link, expected a file"),
    (_sparse, f"'{WEIGHTS}' has 1099511627776 bytes, expected at most"),
    (_sparse_card, f"'{CARD}' has 8589934592 bytes, expected at most 1000000"),
    (_unlisted_pipe, "its manifest does not name 'more'"),
    (_unlisted_pickle, r"its manifest does not name 'adapter_model\.bin'"),
    (_unlisted_in_stage, rf"its manifest does not name '{SOURCE_TASK}/\.hidden'"),
    (_listed_other, r"its manifest names 'modeling\.py', expected .* at most"),
    (_stage_without_weights, f"{SOURCE_TASK}/{WEIGHTS} is missing"),
    (_flare_as_stage, "expected the plain LoRA of stage 1, got FLARE"),
    (_damaged_stage, f"{SOURCE_TASK}/{WEIGHTS}: expected a whole safetensors file, but it is damaged"),
    (_infinite_merge, "holds numbers that are not finite"),
    (_doubled, "holds '.*' twice"),
    (_long_header, "its header is to have 99000000 bytes"),
    (_embeddings, r"modules_to_save would replace bert\.embeddings\.word_embeddings, which belongs to the base"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGE, ids=lambda value: getattr(value, "__name__", ""))
def test_a_folder_that_is_not_what_it_should_be(folder: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(folder)
    assert re.search(message, refused(folder))


@pytest.mark.parametrize("name", ["../weights", "a//b", "a/./b", "a\\b", "C:weights", "a\0b", "", "/etc/hosts"])
def test_a_name_that_leaves_the_folder_is_refused_before_anything_is_looked_at(tmp_path: Path, name: str) -> None:
    for place in ("weights", "a/b", "C:weights", "a\\b"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_text("there")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a").mkdir()
    for place in ("a/b", "C:weights", "a\\b"):
        (tmp_path / "inner" / place).write_text("there")
    with pytest.raises(UserError, match="leaves the folder or is no file's"):
        regular(tmp_path / "inner", name, 100)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="expected a regular file; check the path"):
        read_regular(tmp_path / "pipe", 100)


def test_a_merge_that_overflows_is_refused(folder: Path) -> None:
    """Each number is within bounds; their product is none that a weight of the base can hold."""
    path = folder / SOURCE_TASK / WEIGHTS
    tensors = load_file(path)
    for name, tensor in tensors.items():
        if "layer.1" in name and "lora_" in name:
            tensor.fill_(9e5)
    save_file(tensors, path, metadata={"format": "pt"})
    half = build("bert").half()
    card = json.loads((folder / CARD).read_text())
    (folder / CARD).write_text(json.dumps(card | {"base": crossflare.identify(half, "tiny").to_dict()}))
    seal(folder)
    before = state(half)
    with pytest.raises(UserError, match=f"{SOURCE_TASK}: merging it makes .* infinite or no number"):
        crossflare.load_adapter(half, folder)
    assert same(before, state(half))


def test_a_stage_one_is_not_merged_into_quantised_weights(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seal(folder)
    monkeypatch.setattr("crossflare.fusion.saved.adapter_files.is_quantised", lambda module: True)
    assert "cannot be merged into quantised weights" in refused(folder)


def test_what_hubs_and_git_put_beside_is_let_be_and_never_opened(folder: Path) -> None:
    (folder / ".git").mkdir()
    os.mkfifo(folder / ".git" / "index")
    (folder / ".gitattributes").symlink_to("/dev/zero")
    crossflare.load_adapter(build("bert"), folder)


def test_a_snapshot_of_the_hubs_cache_loads(folder: Path, tmp_path: Path) -> None:
    snapshot = hub_snapshot(folder, tmp_path)
    loaded = crossflare.load_adapter(build("bert"), snapshot)
    assert torch.equal(
        logits(loaded, batch().both()), logits(crossflare.load_adapter(build("bert"), folder), batch().both())
    )


def test_in_a_snapshot_too_links_lead_to_its_own_blobs_alone(folder: Path, tmp_path: Path) -> None:
    snapshot = hub_snapshot(folder, tmp_path)
    blob = (snapshot / CARD).resolve()
    others = [
        tmp_path / "models--a--c" / "blobs" / "x",
        tmp_path / "models--a--b" / "refs" / "x",
        blob.parent / "y" / "x",
    ]
    for place in others:
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(blob, place)
        (snapshot / CARD).unlink()
        (snapshot / CARD).symlink_to(place)
        assert f"'{CARD}' is a link" in refused(snapshot)
    (blob.parent / "link").symlink_to(others[0])
    (snapshot / CARD).unlink()
    (snapshot / CARD).symlink_to(blob.parent / "link")
    assert f"'{CARD}' is a link" in refused(snapshot)


def test_opening_a_folder_deletes_nothing_of_others(folder: Path) -> None:
    beside = folder.parent / ".adapter.old"
    beside.mkdir()
    (beside / "thesis.txt").write_text("years of work")
    open_dir(folder)
    assert (beside / "thesis.txt").is_file()
