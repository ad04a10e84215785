"""Faults of the operating system, put by strace into one system call of a forked child: no code of ours is changed."""

import errno
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from crossflare.errors import UserError

CALLS = (
    "write", "writev", "pwrite64", "ftruncate", "fsync", "fdatasync", "rename", "renameat", "renameat2", "chmod",
    "fchmod", "fchmodat", "mkdir", "mkdirat", "unlink", "unlinkat", "rmdir", "symlink", "symlinkat", "link", "linkat",
)  # fmt: skip
"""Whatever changes what is on a disk."""
FAULTS = {
    "killed": "signal=SIGKILL:when={}",
    "disk full once": "error=ENOSPC:when={}",
    "disk full for good": "error=ENOSPC:when={}+",
    "disk broken once": "error=EIO:when={}",
    "disk broken for good": "error=EIO:when={}+",
}
"""Name -> what strace injects, with the number of the call."""


class Point(NamedTuple):
    """One fault at one call of a save."""

    fault: str
    call: str
    number: int
    """Of the call among those of its name, from 1."""


class End(NamedTuple):
    """How a child ended."""

    code: int
    """0: the save says that it is done; 2: refused; -9: killed; 1: anything else."""
    said: str
    """The line of a UserError, or a traceback."""


def traceable() -> bool:
    """Whether strace is there and may trace."""
    if shutil.which("strace") is None or not hasattr(os, "fork"):
        return False
    return subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True).returncode == 0


def count_calls(save: Callable[[], None], log: Path) -> Counter[str]:
    """Run a save in a child without any fault and count its calls that change the disk."""
    end = _traced(save, ["-e", f"trace={','.join(f'?{name}' for name in CALLS)}"], log)
    assert end.code == 0, end.said
    return Counter(re.findall(r"^\d+ +(\w+)\(", log.read_text(encoding="utf-8", errors="replace"), re.MULTILINE))


def points(counted: Counter[str], faults: tuple[str, ...] = tuple(FAULTS)) -> Iterator[Point]:
    """Yield every fault at every call."""
    for fault in faults:
        for call, number in sorted(counted.items()):
            for at in range(1, number + 1):
                yield Point(fault, call, at)


def inject(save: Callable[[], None], point: Point, log: Path) -> End:
    """Run a save in a child with one fault."""
    what = FAULTS[point.fault].format(point.number)
    return _traced(save, ["-e", f"trace={point.call}", "-e", f"inject={point.call}:{what}"], log)


def check_end(end: End, point: Point) -> None:
    """A save that meets a fault is done, says in one line what it could not do, or was killed."""
    assert end.code in ((-signal.SIGKILL,) if point.fault == "killed" else (0, 2)), (point, end)
    if end.code == 2:
        word = os.strerror(errno.ENOSPC if "full" in point.fault else errno.EIO)
        assert "\n" not in end.said, (point, end)
        assert word in end.said, (point, end)


def in_child(
    action: Callable[[], None],
    before: Callable[[int], subprocess.Popen[str] | None] = lambda child: None,
    over: Callable[[], None] = lambda: None,
) -> End:
    """Run an action in a fork of this process.

    Args:
        action: Whatever it does, the child ends by `os._exit`.
        before: Called with the child's process id before the action begins; what it returns ends with the child.
        over: Called once the child has ended, while nobody else can have its process id.
    """
    ours, childs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)  # sent to, not written: no injected call
    child = os.fork()
    if child == 0:
        code, said = 1, ""
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            childs.recv(1)
            action()
            code = 0
        except UserError as error:
            code, said = 2, str(error)
        except BaseException:
            said = traceback.format_exc()
        finally:
            try:
                childs.send(said.encode("utf-8", "replace")[-60_000:])
            finally:
                os._exit(code)
    childs.close()
    tracer = before(child)
    ours.send(b"x")
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    over()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        said = ours.recv(1 << 16, socket.MSG_DONTWAIT).decode("utf-8", "replace")
    except BlockingIOError:  # it ended without a word
        said = ""
    finally:
        ours.close()
    if tracer is not None:
        tracer.communicate()
    return End(code, said)


def shoot(action: Callable[[], None], after: float | None, once: Callable[[], bool] = lambda: True) -> End:
    """Run an action in a child, which is killed so many seconds after something is true; None: never."""
    ended = threading.Event()

    def aim(child: int) -> None:
        def kill() -> None:
            while not once():
                if ended.wait(0.001):
                    return
            if not ended.wait(after):
                os.kill(child, signal.SIGKILL)

        if after is not None:
            threading.Thread(target=kill, daemon=True).start()

    return in_child(action, aim, ended.set)


def _traced(save: Callable[[], None], options: list[str], log: Path) -> End:
    def attach(child: int) -> subprocess.Popen[str]:
        words = ["strace", "-f", "-p", str(child), "-o", str(log), *options]
        tracer = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
        assert tracer.stderr is not None
        line = tracer.stderr.readline()
        assert "attached" in line, line
        return tracer

    return in_child(save, attach)
