"""The cache of files that can be made again, the errors of a failing disk, and the names of unfinished files."""

import errno
import hashlib
import os
import re
import shutil
import socket
import sys
from contextlib import suppress
from pathlib import Path

import platformdirs

from crossflare.errors import UserError


def cache_folder() -> Path:
    """Return the folder for files that can be made again: `CROSSFLARE_CACHE`, or else the user's cache folder."""
    own = os.environ.get("CROSSFLARE_CACHE")
    return Path(own).expanduser() if own else platformdirs.user_cache_path("crossflare", appauthor=False)


def disk_error(error: Exception) -> OSError | None:
    """Return the system's error behind an error; libraries in Rust have their own classes, and name its number."""
    if isinstance(error, OSError):
        return error
    said = re.search(r"\(os error (\d+)\)", str(error))
    return None if said is None else OSError(int(said[1]), os.strerror(int(said[1])))


class StorageError(UserError):
    """A file could not be written."""

    read_only = False
    """Whether its place is read-only."""


def file_in_the_way(error: OSError) -> str:
    """Return what to do if a file is where a folder should be; empty if the error has another cause."""
    place = error.filename
    if error.errno == errno.ENOTDIR or (error.errno == errno.EEXIST and place and Path(os.fsdecode(place)).is_file()):
        return "a file stands where a folder is needed: move it away, or choose another folder"
    return ""


def storage_error(path: Path, error: OSError) -> StorageError:
    """Return the error for a file that could not be written."""
    reason = error.strerror or str(error)
    advice = file_in_the_way(error) or "free space or choose another folder"
    said = f"{path}: could not be written ({reason}); {advice}; nothing was lost"
    made = StorageError(said, "disk")
    made.read_only = error.errno in (errno.EROFS, errno.EACCES, errno.EPERM)
    return made


def check_space(place: Path, megabytes: float, what: str) -> None:
    """Refuse to begin a file or folder that the disk has no room for.

    Args:
        place: The file or folder to make; its parents may be missing, too.
        megabytes: The most that it takes.
        what: What it is, for the message.

    Raises:
        StorageError: The disk has less free space.
    """
    there = next((each for each in place.absolute().parents if each.exists()), Path())
    if (free := shutil.disk_usage(there).free / 1e6) < megabytes:
        raise StorageError(
            f"{place}: {what} takes {megabytes:.0f} MB, {free:.0f} MB are free; free space, or name another folder",
            "disk",
        )


def sweep(folder: Path) -> None:
    """Remove unfinished files of this machine's killed processes, in a folder and below; leave those of others."""
    for place, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            found = _TEMPORARY.fullmatch(name)
            if found is not None and found["host"] == _host() and not _runs(int(found["process"])):
                junk = Path(place) / name
                if name in folders:
                    folders.remove(name)
                    shutil.rmtree(junk, ignore_errors=True)
                with suppress(OSError):
                    junk.unlink(missing_ok=True)


_TEMPORARY = re.compile(r"\..+\.(?P<host>[0-9a-f]{6})-(?P<process>\d+)\.(?:\w+\.)?tmp")


def writer() -> str:
    """Return the part of a temporary name that identifies its writer, so that others know whether it still runs."""
    return f"{_host()}-{os.getpid()}"


def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:6]


def _runs(process: int) -> bool:
    if sys.platform != "win32":  # there signal 0 would end it
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return False
        except OSError:
            return True
    return True


def umask() -> int:
    """Return the permissions that new files of this process do not get."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sync(path: Path) -> None:
    """Flush a file or a folder to the disk; Windows cannot flush folders."""
    if sys.platform == "win32" and path.is_dir():
        return
    handle = os.open(path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
