"""Rows, labels, and texts that occur twice: 14 bytes a row, so that files of any size can be looked at."""

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray

from crossflare.tasks.example import hash_of_id

SHOWN = 2
"""Examples of a finding."""


def key_of(texts: Sequence[str]) -> int:
    """Return the hash by which texts are the same: whatever their blanks and their Unicode form; 0 for blank texts."""
    words = [" ".join((text if text.isascii() else normalize("NFC", text)).split()) for text in texts]
    return hash_of_id("\x1f".join(words)) or 1 if any(words) else 0


@dataclass
class Keys:
    """The hashes of the texts of one part, each with the place that it was read from."""

    keys: "array[int]" = field(default_factory=lambda: array("Q"))
    lines: "array[int]" = field(default_factory=lambda: array("I"))
    files: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    """The first row of each file, and the file."""

    def add(self, texts: Sequence[str], origin: str) -> None:
        """Count one row, read at `file:line`."""
        file, _, line = origin.rpartition(":")
        if not self.files or self.files[-1][1] != file:
            self.files.append((len(self.keys), file))
        self.keys.append(key_of(texts))
        self.lines.append(int(line) if line.isdecimal() else 0)

    def place(self, row: int) -> str:
        """Return `file:line` of a row."""
        file = next((name for start, name in reversed(self.files) if start <= row), "")
        return f"{file}:{self.lines[row]}" if file else f"row {row + 1}"

    def first(self) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """Return the different keys, sorted, and the first row of each; blank texts are left out."""
        keys, rows = np.unique(self._array, return_index=True)
        there = keys != 0
        return keys[there], rows[there]

    @property
    def _array(self) -> NDArray[np.uint64]:
        return np.array(self.keys, dtype=np.uint64)

    def again(self) -> int:
        """Return how many rows have the text of an earlier row."""
        return int(np.count_nonzero(self._array)) - len(self.first()[0])

    def within(self, other: "Keys") -> tuple[int, list[tuple[str, str]]]:
        """Return how many rows have a text of `other`, and (place there, place here) of the first."""
        keys, first = other.first()
        mine = self._array
        if not len(keys):
            return 0, []
        at = np.minimum(np.searchsorted(keys, mine), len(keys) - 1)
        rows = np.flatnonzero(keys[at] == mine)
        return len(rows), [(other.place(int(first[at[row]])), self.place(int(row))) for row in rows[:SHOWN]]


@dataclass
class RowTally:
    """The rows of one part in one language."""

    texts: Keys = field(default_factory=Keys)
    contexts: Keys | None = None
    """Of questions, their contexts alone."""
    labels: Counter[int] = field(default_factory=Counter[int])
    """Label -> rows; -1: rows without one."""
    empty: int = 0
    """Rows of which a text is blank."""
    first_empty: str = ""
    """Where the first of them was read."""
    of_row: "array[int]" = field(default_factory=lambda: array("h"))

    def add(self, texts: Sequence[str], label: int | None, origin: str) -> None:
        """Count one row."""
        self.texts.add(texts, origin)
        if self.contexts is not None:
            self.contexts.add(texts[-1:], origin)
        number = -1 if label is None else label
        self.labels[number] += 1
        self.of_row.append(number)
        if not all(text.strip() for text in texts):
            self.empty += 1
            self.first_empty = self.first_empty or origin

    @property
    def rows(self) -> int:
        """How many there are."""
        return len(self.texts.keys)

    def unlike(self) -> tuple[int, list[tuple[str, str]]]:
        """Return how many rows have the text of an earlier one and another label, and the places of the first."""
        found = list(self._unlike())
        return len(found), [(self.texts.place(one), self.texts.place(row)) for one, row in found[:SHOWN]]

    def _unlike(self) -> Iterator[tuple[int, int]]:
        keys, first = self.texts.first()
        mine, labels = np.array(self.texts.keys, dtype=np.uint64), np.array(self.of_row, dtype=np.int16)
        if not len(keys):
            return
        at = first[np.minimum(np.searchsorted(keys, mine), len(keys) - 1)]
        wrong = (mine[at] == mine) & (labels[at] != labels) & (labels >= 0) & (labels[at] >= 0)
        yield from ((int(at[row]), int(row)) for row in np.flatnonzero(wrong))
