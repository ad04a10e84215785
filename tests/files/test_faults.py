"""Whatever call fails and wherever the process ends, a reader finds the old content or the new, whole."""

import errno
import itertools
import os
import resource
import shutil
from pathlib import Path

import pytest

from crossflare.disk.files import commit_dir, open_dir, write_atomic
from crossflare.errors import UserError

ERRORS = pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO], ids=["full", "broken"])
STICKY = pytest.mark.parametrize("sticky", [False, True], ids=["once", "for good"])
STARTS = pytest.mark.parametrize("start", [True, False], ids=["replacing", "first save"])


def fresh(folder: Path, number: int) -> Path:
    place = folder / str(number)
    place.mkdir()
    return place


@STARTS
def test_file_is_whole_wherever_the_process_ends(tmp_path, disk, start):
    for at in itertools.count(1):
        path = fresh(tmp_path, at) / "file.txt"
        if start:
            write_atomic(path, "old")
        crashed = disk.crash(lambda path=path: write_atomic(path, "new and longer"), at)
        assert (path.read_text() if path.exists() else None) in (
            {"old", "new and longer"} if start else {None, "new and longer"}
        )
        write_atomic(path, "next")  # what a crash left behind does not disturb the next save
        assert path.read_text() == "next"
        if not crashed:
            break
    assert at > 4


@STARTS
def test_folder_is_whole_wherever_the_process_ends(tmp_path, disk, start):
    seen = set()
    for at in itertools.count(1):
        folder = fresh(tmp_path, at) / "folder"
        if start:
            commit_dir(folder, disk.fill(disk.old))
        crashed = disk.crash(lambda folder=folder: commit_dir(folder, disk.fill(disk.new)), at)
        try:
            content = disk.content(folder)
        except UserError:
            content = None
            assert not folder.exists()
        assert content in ([disk.old, disk.new] if start else [None, disk.new])
        seen.add(str(content))
        commit_dir(folder, disk.fill(disk.new))
        assert disk.content(folder) == disk.new
        if not crashed:
            break
    assert at > 15
    assert len(seen) == 2


@pytest.mark.slow  # every pair of places; each place alone is above
def test_folder_is_whole_when_the_next_save_and_the_recovery_end_too(tmp_path, disk):
    """Two faults on top of each other: the process ends at one rename or removal, the next one at another."""
    names = ("replace", "unlink", "rmdir")

    def save(folder: Path, text: str) -> None:
        commit_dir(folder, lambda place: (place / "file.txt").write_text(text) and None)

    for first in itertools.count(1):
        for second in itertools.count(1):
            folder = fresh(tmp_path, first * 1000 + second) / "folder"
            save(folder, "old")
            crashed = disk.crash(lambda folder=folder: save(folder, "new"), first, names)
            again = disk.crash(lambda folder=folder: save(folder, "last"), second, names)
            assert disk.content(folder) in [{"file.txt": text} for text in ("old", "new", "last")]
            if not again:
                break
        if not crashed:
            break
    assert first > 6


@ERRORS
@STICKY
@STARTS
def test_file_survives_a_failing_disk(tmp_path, disk, error, sticky, start):
    for at in itertools.count(1):
        path = fresh(tmp_path, at) / "file.txt"
        if start:
            write_atomic(path, "old")
        end = disk.fail(lambda path=path: write_atomic(path, "new and longer"), at, error, sticky)
        if end == "untouched":
            break
        if end == "done":  # "make the folder if it is missing" asks, fails, and sees that it is there
            assert path.read_text() == "new and longer"
            continue
        # Only the flush of the folder comes after the rename: the new text is then already there, whole.
        assert (path.read_text() if path.exists() else None) in ("old" if start else None, "new and longer")
        assert disk.names(path.parent) in ([], ["file.txt"])
    assert path.read_text() == "new and longer"
    assert at > 4


@ERRORS
@STICKY
@STARTS
def test_folder_survives_a_failing_disk(tmp_path, disk, error, sticky, start):
    for at in itertools.count(1):
        folder = fresh(tmp_path, at) / "folder"
        if start:
            commit_dir(folder, disk.fill(disk.old))
        end = disk.fail(lambda folder=folder: commit_dir(folder, disk.fill(disk.new)), at, error, sticky)
        assert folder.exists() or not start or sticky  # back in its place at once, before any reader heals it
        if end == "done":
            assert disk.content(folder) == disk.new
        elif start or folder.exists():
            assert disk.content(folder) in [disk.old, disk.new]
        assert disk.names(folder.parent) in ([], ["folder"])  # opening it has healed what could not be renamed back
        if end == "untouched":
            break
    assert disk.content(folder) == disk.new
    assert at > 15


@STICKY
def test_folder_survives_when_even_the_clean_up_fails(tmp_path, disk, sticky):
    for at in itertools.count(1):
        folder = fresh(tmp_path, at) / "folder"
        commit_dir(folder, disk.fill(disk.old))
        save = lambda folder=folder: commit_dir(folder, disk.fill(disk.new))  # noqa: E731
        end = disk.fail(save, at, errno.EIO, sticky, disk.cleaning)
        assert disk.content(folder) in [disk.old, disk.new]
        commit_dir(folder, disk.fill(disk.new))
        assert disk.content(folder) == disk.new
        if end == "untouched":
            break


def test_file_too_large_for_the_system_leaves_the_old(tmp_path):
    """A real failing write: the process may write files of at most 1000 bytes."""
    path = tmp_path / "file.txt"
    write_atomic(path, "old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(UserError, match=r"file\.txt: could not be written \(File too large\)"):
            write_atomic(path, "x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.txt"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, ValueError("no"), UserError("no")])
def test_fill_that_stops_leaves_the_old_and_nothing_else(tmp_path, disk, stop):
    folder = tmp_path / "folder"
    commit_dir(folder, disk.fill(disk.old))

    def fill(place: Path) -> None:
        (place / "part").write_text("part")
        raise stop

    with pytest.raises(stop if isinstance(stop, type) else type(stop)):
        commit_dir(folder, fill)
    assert disk.content(folder) == disk.old
    assert os.listdir(tmp_path) == ["folder"]


def test_reader_that_heals_between_the_renames_does_not_stop_the_writer(tmp_path, disk, monkeypatch):
    """A reader sees the moment between the two renames, brings the old folder back; the writer carries on."""
    folder = tmp_path / "folder"
    commit_dir(folder, disk.fill(disk.old))
    real, read = os.replace, []

    def replace(source, target):
        real(source, target)
        if str(target).endswith(".old") and not read:
            read.append(disk.content(folder))

    monkeypatch.setattr(os, "replace", replace)
    commit_dir(folder, disk.fill(disk.new))
    monkeypatch.undo()
    assert read == [disk.old]
    assert disk.content(folder) == disk.new
    assert os.listdir(tmp_path) == ["folder"]


def test_killed_first_save_is_not_taken_for_a_folder(tmp_path, disk):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.txt").write_text("half")
    with pytest.raises(UserError, match="save was cut off"):
        open_dir(folder)


def test_replaced_folder_leaves_nothing_beside_it(tmp_path, disk):
    folder = tmp_path / "folder"
    for content in (disk.old, disk.new):
        commit_dir(folder, disk.fill(content))
        assert os.listdir(tmp_path) == ["folder"]  # before any reader has looked


@pytest.mark.parametrize("gone", [False, True], ids=["both there", "only the old there"])
def test_next_save_heals_what_no_reader_has(tmp_path, disk, gone):
    folder = tmp_path / "folder"
    commit_dir(folder, disk.fill(disk.old))
    if gone:
        os.rename(folder, tmp_path / ".folder.old")  # as a kill between the two renames leaves it
    else:
        shutil.copytree(folder, tmp_path / ".folder.old")  # as a kill behind them does
    commit_dir(folder, disk.fill(disk.new))
    assert disk.content(folder) == disk.new
    assert os.listdir(tmp_path) == ["folder"]


def test_folder_or_file_that_is_not_there_is_said_so(tmp_path, disk):
    with pytest.raises(UserError, match="expected a folder saved by crossflare, found none"):
        open_dir(tmp_path / "folder")
    commit_dir(tmp_path / "folder", disk.fill(disk.old))
    (tmp_path / "folder" / "a.txt").unlink()
    with pytest.raises(UserError, match=r"the manifest names 'a\.txt', which is missing"):
        open_dir(tmp_path / "folder")
