"""A kill, a full disk and a broken one at every system call of every save: what stands afterwards is old or new."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from injecting import FAULTS, check_end, count_calls, in_child, inject, points, traceable
from lanes import cover
from save_paths import PATHS, check_state

needs_strace = pytest.mark.skipif(not traceable(), reason="strace is missing or may not trace")


@needs_strace
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("path", "fault"), cover(PATHS, FAULTS))
def test_old_or_new_stands_after_a_fault_at_every_call(tmp_path: Path, path: str, fault: str) -> None:
    saving, start, log = PATHS[path], tmp_path / "start", tmp_path / "log"
    start.mkdir()
    saving.old(start)
    shutil.copytree(start, tmp_path / "counted", symlinks=True)
    counted = count_calls(lambda: saving.new(tmp_path / "counted"), log)
    assert {"rename", "write"} & counted.keys(), counted
    for number, point in enumerate(points(counted, (fault,))):
        place = tmp_path / str(number)
        shutil.copytree(start, place, symlinks=True)
        end = inject(lambda place=place: saving.new(place), point, log)
        check_end(end, point)
        check_state(saving, place, end.code == 0)
        shutil.rmtree(place)


def _fill_up(place: Path) -> None:
    with (place / "ballast").open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                continue


def can_mount(place: Path) -> bool:
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=200", "none", str(place)]
    return hasattr(os, "fork") and os.geteuid() == 0 and subprocess.run(words, capture_output=True).returncode == 0


@pytest.mark.parametrize("path", PATHS)
def test_a_disk_that_is_really_full_keeps_the_old(tmp_path: Path, path: str) -> None:
    """A file system in memory without a byte left, and then with room for a part of the save."""
    saving, disk = PATHS[path], tmp_path / "disk"
    if not can_mount(disk):
        pytest.skip("only root mounts a small file system")
    try:
        saving.old(disk)
        _fill_up(disk)
        for free in (0, 1, 2, 3, 4, 6, 8):
            os.truncate(disk / "ballast", max(0, (disk / "ballast").stat().st_size - free * 4096))
            end = in_child(lambda: saving.new(disk), lambda child: None)
            assert end.code in (0, 2), end.said
            if end.code == 2:
                assert "No space left on device" in end.said
                assert "\n" not in end.said
            else:
                break
        (disk / "ballast").unlink()
        check_state(saving, disk, end.code == 0)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
