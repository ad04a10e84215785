"""The log of a run, `made.jsonl`: one line for each step that was made: what, when, how long, by whom.

All workers of a run, on any machine, add to it, and any of them reads there what the others have made.
"""

import json
import os
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

LOG = "made.jsonl"


@dataclass(frozen=True, slots=True)
class Made:
    """One step that was made."""

    id: str
    kind: str
    label: str
    seconds: float


def note(shared: Path, made: Made) -> None:
    """Add a line; appended in one write, so that the lines of several workers do not mix.

    Behind a line that a kill cut off it begins a new one.
    """
    line = {
        "id": made.id,
        "kind": made.kind,
        "label": made.label,
        "seconds": round(made.seconds, 2),
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "by": f"{socket.gethostname()}:{os.getpid()}",
    }
    with (shared / LOG).open("a+b") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - 1))
        torn = file.read(1) not in (b"", b"\n")
        file.write(b"\n" * torn + json.dumps(line, ensure_ascii=False).encode() + b"\n")


class Reader:
    """Reads the log as it grows."""

    def __init__(self, shared: Path) -> None:
        self._path = shared / LOG
        self._place = 0
        """Bytes that have been read."""

    def new(self) -> list[Made]:
        """Return what was made since the last call; a line that cannot be read is passed over."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._place)
                read = file.read()
        except OSError:  # nothing was made yet
            return []
        whole = read[: read.rfind(b"\n") + 1]
        self._place += len(whole)
        return [made for line in whole.splitlines() if (made := _parsed(line)) is not None]


def _parsed(line: bytes) -> Made | None:
    try:
        values: dict[str, Any] = json.loads(line)
        return Made(str(values["id"]), str(values["kind"]), str(values["label"]), float(values["seconds"]))
    except (ValueError, TypeError, KeyError):
        return None
