"""Adapters by their name on the hub, from a cache that is made here: nothing is fetched."""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import crossflare
from crossflare.errors import UserError
from crossflare.fusion.saved.adapter_check import WEIGHTS
from hub_cache import hub_snapshot
from tiny_adapters import make_adapters

COMMIT = "0" * 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapters(tmp_path_factory.mktemp("models"))


@pytest.fixture
def snapshot(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The LoRA adapter as `a/b` in a hub's cache."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return hub_snapshot(folder / "lora", tmp_path / "cache")


@pytest.mark.parametrize("revision", [None, "main", COMMIT])
def test_a_name_is_the_folder_in_the_cache(folder: Path, snapshot: Path, revision: str | None) -> None:
    opened = crossflare.open_adapter("a/b", revision=revision)
    assert opened.folder == snapshot
    assert opened.predict(["w1 w2"]) == crossflare.open_adapter(folder / "lora").predict(["w1 w2"])


def test_what_was_fetched_is_checked_like_any_folder(snapshot: Path) -> None:
    blob = (snapshot / WEIGHTS).resolve()
    blob.write_bytes(blob.read_bytes()[:-1] + b"\1")
    with pytest.raises(UserError, match=f"'{WEIGHTS}' is not the file that was saved"):
        crossflare.open_adapter("a/b")
    (snapshot / WEIGHTS).unlink()  # a fetch that was cut off
    with pytest.raises(UserError, match=f"the manifest names '{WEIGHTS}', which is missing"):
        crossflare.open_adapter("a/b")


@pytest.mark.parametrize(
    ("name", "revision", "said"),
    [
        ("a/other", None, "a/other: no such folder, not whole in the hub's cache, and no hub in reach"),
        ("a/b", "v2", "a/b: no such folder, not whole in the hub's cache at revision 'v2', and no hub in reach"),
        ("a/b..c", None, "a/b..c: could not be fetched"),
    ],
)
def test_what_is_not_here_is_one_line(snapshot: Path, name: str, revision: str | None, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        crossflare.open_adapter(name, revision=revision)
    assert "\n" not in str(caught.value)
    assert caught.value.kind == "artefact"


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("GatedRepoError", "a/b: its owner gives it to those who accept its terms"),
        ("RepositoryNotFoundError", "a/b: no such folder, and no such public model on the hub"),
        ("RevisionNotFoundError", "a/b: the hub has it, but not its revision 'v2'"),
        ("HfHubHTTPError", r"a/b: could not be fetched \(HfHubHTTPError: 503 busy\)"),
    ],
)
def test_what_the_hub_refuses_is_one_line(kind: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.errors

    response = SimpleNamespace(headers={}, request=None)
    error: Callable[..., Exception] = getattr(huggingface_hub.errors, kind)

    def refuse(*_: Any, **__: Any) -> None:
        raise error("503 busy\nand more", response=response)

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(UserError, match=said) as caught:
        crossflare.open_adapter("a/b", revision="v2")
    assert "\n" not in str(caught.value)


def test_a_folder_comes_before_a_name(
    folder: Path, snapshot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(folder / "flare", tmp_path / "a" / "b")
    monkeypatch.chdir(tmp_path)
    assert crossflare.open_adapter("a/b").kind.fuses
    with pytest.raises(UserError, match="a/b: revision 'v2' is for a name on the hub, and this is none; leave it out"):
        crossflare.open_adapter("a/b", revision="v2")


@pytest.mark.parametrize("place", [Path("a/other"), "./a/other", "a/b/c", "b", "~/no-such-folder"])
def test_what_can_only_be_a_path_is_not_looked_up(
    place: str | Path, snapshot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", None)
    with pytest.raises(UserError, match="expected a folder saved by crossflare, found none"):
        crossflare.open_adapter(place)
