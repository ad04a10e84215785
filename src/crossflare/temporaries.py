"""The names of files and folders that are being written: they say who writes, so that a killed process's can go."""

import hashlib
import os
import re
import shutil
import socket
import sys
from contextlib import suppress
from pathlib import Path


def sweep(folder: Path) -> None:
    """Remove what killed processes of this machine were writing in a folder and below; others' work is left alone."""
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
    """Return what a temporary name says of its writer, so that others know whether it is still at work."""
    return f"{_host()}-{os.getpid()}"


def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:6]


def _runs(process: int) -> bool:
    if sys.platform != "win32":  # where signal 0 would end it
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return False
        except OSError:
            return True
    return True
