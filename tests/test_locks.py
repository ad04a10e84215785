"""A lock keeps other processes out, says who holds it, and is free when its holder is gone, however it went."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from crossflare.disk import locks
from crossflare.errors import UserError

PROGRAM = """
import sys, time
from pathlib import Path
from crossflare.disk.locks import alone
with alone(Path(sys.argv[1]), "works here"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "folder" / ".lock"


def test_a_second_process_is_told_who_the_first_one_is_and_a_killed_one_is_free(place: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", PROGRAM, str(place)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        told = rf"folder: process {holder.pid} on {socket.gethostname()} works here already; wait for it or use another"
        with pytest.raises(UserError, match=told), locks.alone(place, "works here"):
            pass
        with locks.claimed(place) as mine:
            assert not mine
        holder.send_signal(signal.SIGKILL)
        assert holder.wait() == -signal.SIGKILL
    with locks.alone(place, "works here"):
        told = rf"process {os.getpid()} on \S+ works here already"
        with pytest.raises(UserError, match=told), locks.alone(place, "works here"):
            pass
    with locks.claimed(place) as mine:
        assert mine


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_after_a_fork_the_lock_stays_the_parents(place: Path) -> None:
    lock = locks.take(place)
    assert lock is not None
    child = os.fork()
    if child == 0:
        locks.leave_to_parent(lock)
        os._exit(0 if locks.take(place) is None else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert locks.take(place) is None
    lock.release()
    again = locks.take(place)
    assert again is not None
    again.release()


def test_an_error_inside_frees_the_lock(place: Path) -> None:
    with pytest.raises(KeyError), locks.alone(place, "works here"):
        raise KeyError
    with locks.claimed(place) as mine:
        assert mine


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(UserError, match=r"file: could not be written .*; choose another folder"):
        locks.alone(tmp_path / "file" / ".lock", "works here").__enter__()


def test_asking_for_a_lock_that_is_held_is_no_error(tmp_path: Path) -> None:
    lock = locks.take(tmp_path / "a.lock")
    assert lock is not None
    with locks.claimed(tmp_path / "a.lock") as mine:
        assert not mine
    lock.release()
    with locks.claimed(tmp_path / "a.lock") as mine:
        assert mine
