"""Locks that keep other processes out: the system frees a lock when its process ends, however it ends."""

import os
import socket
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from crossflare.disk.storage import storage_error, umask
from crossflare.errors import UserError

POLL = 0.1
"""Seconds between two attempts to take a lock that another process holds."""
_parents: list[BaseFileLock] = []
"""Locks of the process that this one was forked from; kept, since older filelocks free a lock with its last use."""


def take(path: Path) -> BaseFileLock | None:
    """Take the lock file `path` and return it; None if another process, or another part of this one, holds it.

    Raises:
        OSError: The file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, mode=0o666 & ~umask(), thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    return lock


def leave_to_parent(lock: BaseFileLock) -> None:
    """Give up a lock after a fork, without freeing it: the parent process still holds it."""
    _parents.append(lock)


@contextmanager
def claimed(path: Path) -> Generator[bool]:
    """Hold a lock file inside the block; yield False if another process holds it."""
    lock = take(path)
    try:
        yield lock is not None
    finally:
        if lock is not None:
            lock.release()


@contextmanager
def in_turn(path: Path) -> Generator[None]:
    """Hold a lock file inside the block; wait for its holder, since that process makes what the caller wants.

    Raises:
        UserError: The lock file cannot be written.
    """
    try:
        while (lock := take(path)) is None:
            time.sleep(POLL)
    except OSError as error:
        raise storage_error(path, error) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def alone(path: Path, does: str) -> Generator[None]:
    """Hold a lock file inside the block, and name the holder in a file next to it.

    Args:
        path: The lock file.
        does: What the holder does, such as `trains there`.

    Raises:
        UserError: Another process holds it (the message names the process and its machine), or the folder cannot be
            written.
    """
    holder = path.with_name(f"{path.name}.holder")
    try:
        lock = take(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"{path.parent}: could not be written ({reason}); choose another folder") from error
    if lock is None:
        who = holder.read_text(encoding="utf-8") if holder.is_file() else "another process"
        raise UserError(f"{path.parent}: {who} {does} already; wait for it or use another folder")
    try:
        with suppress(OSError):  # code that needs the disk reports that it is full
            holder.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
        yield
    finally:
        lock.release()
