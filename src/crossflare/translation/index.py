"""Where the row of a text is in the parts of a shelf: an index on disk, built again by every process that reads.

It is a temporary SQLite database, deleted with the process; a fixed part of it is in memory, so that a million rows
take as much memory as a thousand. The first 8 bytes of a text's sha256 are its key here. Rows that share a key, by
chance or because one was damaged, are all returned, and the reader compares the texts.
"""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crossflare.errors import UserError

BLOCK = 1 << 20
"""Bytes of a part that are read together."""
PREFIX = b'{"key": "'
DIGITS = 16
"""Hex digits of the sha256 that make up the key."""
_CACHE_KIB = 2048
_NIBBLES = np.full(256, 255, dtype=np.uint8)
_NIBBLES[np.frombuffer(b"0123456789abcdef", dtype=np.uint8)] = np.arange(16)


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """One row: the number of its part, its first byte, and its bytes without the line feed."""

    part: int
    start: int
    size: int


class Index:
    """Keys of texts -> places of rows."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        for setting in ("journal_mode=OFF", "synchronous=OFF", "locking_mode=EXCLUSIVE", f"cache_size=-{_CACHE_KIB}"):
            self._database.execute(f"PRAGMA {setting}")
        self._database.execute(
            "CREATE TABLE rows (key INTEGER, part INTEGER, start INTEGER, size INTEGER,"
            " PRIMARY KEY (key, part, start)) WITHOUT ROWID"
        )

    def close(self) -> None:
        """Delete the index."""
        self._database.close()

    def read(self, path: Path, part: int, start: int) -> tuple[int, int]:
        """Enter the whole rows of a part, starting at the byte `start`.

        Returns:
            The end of the last whole row, and how many lines are not rows.

        Raises:
            UserError: The folder of temporary files is full.
        """
        damaged = 0
        with path.open("rb") as file:
            size = BLOCK
            file.seek(start)
            while data := file.read(size):
                whole = data.rfind(b"\n") + 1
                if whole == 0:  # a row longer than the block, or the torn end of the part
                    if len(data) < size:
                        break
                    size *= 2
                    file.seek(start)
                    continue
                damaged += self._enter(data[:whole], part, start)
                start, size = start + whole, BLOCK
                file.seek(start)
        return start, damaged

    def find(self, keys: NDArray[np.int64]) -> list[Place]:
        """Return the places of all rows with one of `keys`, in the order of parts and bytes."""
        wanted = json.dumps(np.unique(keys).tolist())
        rows = self._database.execute(
            "SELECT part, start, size FROM json_each(?) AS j CROSS JOIN rows ON rows.key = j.value", (wanted,)
        ).fetchall()
        return [Place(*row) for row in sorted(rows)]

    def remove(self, place: Place) -> None:
        """Forget a damaged row; this is rare, so that it may search all rows."""
        self._database.execute("DELETE FROM rows WHERE part = ? AND start = ?", (place.part, place.start))

    def _enter(self, data: bytes, part: int, offset: int) -> int:
        signs = np.frombuffer(data, dtype=np.uint8)
        ends = np.flatnonzero(signs == 10)
        starts = np.concatenate([[0], ends[:-1] + 1])
        sizes = ends - starts
        long = sizes >= len(PREFIX) + 64
        heads = signs[starts[long, None] + np.arange(len(PREFIX) + DIGITS)]
        nibbles = _NIBBLES[heads[:, len(PREFIX) :]]
        good = (heads[:, : len(PREFIX)] == np.frombuffer(PREFIX, dtype=np.uint8)).all(1) & (nibbles < 16).all(1)
        octets = (nibbles[good, ::2] << 4) | nibbles[good, 1::2]
        keys = np.ascontiguousarray(octets).view(">i8")[:, 0].astype(np.int64)
        rows = np.stack([keys, np.full_like(keys, part), starts[long][good] + offset, sizes[long][good]], axis=1)
        try:
            self._database.execute("BEGIN")
            self._database.executemany("INSERT OR IGNORE INTO rows VALUES (?, ?, ?, ?)", rows[keys.argsort()].tolist())
            self._database.execute("COMMIT")
        except sqlite3.OperationalError as error:
            raise UserError(
                f"the index of translations could not be written ({error}); free space in the folder of temporary"
                " files, or name another in TMPDIR",
                "disk",
            ) from error
        return len(ends) - len(rows)


def keys_of(digests: Sequence[bytes]) -> NDArray[np.int64]:
    """Return the keys [N] of texts, given their sha256 [N], 32 bytes each."""
    return np.frombuffer(b"".join(digest[: DIGITS // 2] for digest in digests), dtype=">i8").astype(np.int64)
