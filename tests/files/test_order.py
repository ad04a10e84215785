"""Durability and rights: what is renamed has been flushed, what was renamed is flushed into its folder; umask holds."""

import os
from pathlib import Path

import pytest

from crossflare.disk.files import commit_dir, write_atomic


@pytest.fixture
def events(monkeypatch) -> list[tuple]:
    """Record ("flush", inode) and ("rename", inodes moved, inode of the folder it went to)."""
    seen: list[tuple] = []
    fsync, replace = os.fsync, os.replace

    def watch_fsync(handle):
        fsync(handle)
        seen.append(("flush", os.fstat(handle).st_ino))

    def watch_replace(source, target):
        source = Path(source)
        moved = {path.stat().st_ino for path in [source, *source.rglob("*")]}
        seen.append(("rename", moved, Path(target).parent.stat().st_ino))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", watch_fsync)
    monkeypatch.setattr(os, "replace", watch_replace)
    return seen


def check(events: list[tuple], renames: int) -> None:
    assert sum(event[0] == "rename" for event in events) == renames
    for place, event in enumerate(events):
        if event[0] == "rename":
            flushed = {other[1] for other in events[:place] if other[0] == "flush"}
            assert event[1] <= flushed, "renamed before it was flushed"
            assert ("flush", event[2]) in events[place:], "the folder was not flushed after the rename"


def test_file_is_flushed_then_renamed_then_its_folder_flushed(tmp_path, events):
    write_atomic(tmp_path / "file.txt", "text")
    check(events, renames=1)


def test_folder_is_flushed_then_renamed_then_its_parent_flushed(tmp_path, events):
    def fill(folder: Path) -> None:
        (folder / "deep" / "er").mkdir(parents=True)
        (folder / "deep" / "er" / "file.txt").write_text("written by another library, not flushed by it")
        (folder / "empty").mkdir()

    commit_dir(tmp_path / "folder", fill)
    check(events, renames=2)  # the manifest's, the folder's
    commit_dir(tmp_path / "folder", fill)
    check(events, renames=5)  # and the old folder's


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077, 0o002])
def test_umask_is_honoured_and_left_as_it_was(tmp_path, mask):
    before = os.umask(mask)
    try:
        write_atomic(tmp_path / "file.txt", "text")
        commit_dir(tmp_path / "folder", lambda folder: os.close(os.open(folder / "private", os.O_CREAT, 0o600)))
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert (tmp_path / "file.txt").stat().st_mode & 0o777 == 0o666 & ~mask
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o777 & ~mask
    for name in ("private", "manifest.json"):
        assert (tmp_path / "folder" / name).stat().st_mode & 0o777 == 0o666 & ~mask
