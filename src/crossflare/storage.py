"""Where crossflare keeps what can be made again, and what the disk says when it fails, as one line for the user."""

import errno
import os
import re
from pathlib import Path

from crossflare.errors import UserError


def cache_folder() -> Path:
    """Return `CROSSFLARE_CACHE`, else `crossflare` in the user's cache folder."""
    own = os.environ.get("CROSSFLARE_CACHE")
    users = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(own).expanduser() if own else Path(users).expanduser() / "crossflare"


def disk_error(error: Exception) -> OSError | None:
    """Return the error of the system behind an error; libraries in Rust have their own classes, and end so."""
    if isinstance(error, OSError):
        return error
    said = re.search(r"\(os error (\d+)\)", str(error))
    return None if said is None else OSError(int(said[1]), os.strerror(int(said[1])))


class StorageError(UserError):
    """A file could not be written."""

    read_only = False
    """Whether its place may only be read."""


def storage_error(path: Path, error: OSError) -> StorageError:
    """Return the error for a file that could not be written."""
    reason = error.strerror or str(error)
    said = f"{path}: could not be written ({reason}); free space or choose another folder; nothing was lost"
    made = StorageError(said, "disk")
    made.read_only = error.errno in (errno.EROFS, errno.EACCES, errno.EPERM)
    return made
