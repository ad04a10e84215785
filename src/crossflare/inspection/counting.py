"""The counts of rows: repeated rows, their labels, their characters, and their tokens.

15 bytes per row are kept, so that files of any size can be inspected.
"""

import re
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from unicodedata import is_normalized, normalize

import numpy as np
from numpy.typing import NDArray

from crossflare.languages import LETTER_WORDS, script_word, script_words
from crossflare.tasks.example import GAP, Example, Tally, hash_of_id

SHOWN = 2
"""How many examples of a finding are shown."""
Places = list[tuple[str, str]]
"""`file:line` of two rows that belong together."""


def key_of(texts: Sequence[str]) -> int:
    """Return a hash that is equal for texts that differ only in blanks and Unicode form; 0 for blank texts."""
    words = [" ".join((text if text.isascii() else normalize("NFC", text)).split()) for text in texts]
    return hash_of_id("\x1f".join(words)) or 1 if any(words) else 0


class RowTally(Tally):
    """The rows of one part in one language, identified by their texts, each with the place that it was read from."""

    def __init__(self, first: int = 0) -> None:
        """Compare rows by their texts from this one on: for questions, the context is the second."""
        super().__init__()
        self._first = first
        self.lines = array("I")
        self.files: list[tuple[int, str]] = []
        """(number of the first row, file) of each file."""

    def count(self, row: Example) -> None:
        """Count one row, read at `file:line`."""
        file, _, line = row.origin.rpartition(":")
        if not self.files or self.files[-1][1] != file:
            self.files.append((len(self), file))
        self.lines.append(int(line) if line.isdecimal() else 0)
        self.add(key_of(row.texts[self._first :]), row)

    def place(self, row: int) -> str:
        """Return `file:line` of a row."""
        file = next((name for start, name in reversed(self.files) if start <= row), "")
        return f"{file}:{self.lines[row]}" if file else f"row {row + 1}"

    def labelled(self) -> Counter[int]:
        """Return label -> rows; -1: rows without a label."""
        return Counter(dict(zip(*(each.tolist() for each in np.unique(self.labels, return_counts=True)), strict=True)))

    def empty(self) -> tuple[int, str]:
        """Return how many rows have a blank text, and where the first of them is."""
        rows = np.flatnonzero(np.array(self.flags, np.uint8) & GAP)
        return len(rows), self.place(int(rows[0])) if len(rows) else ""

    def again(self) -> int:
        """Return how many rows have the text of an earlier row."""
        return int(np.count_nonzero(self._keys)) - len(self._different()[0])

    def within(self, other: "RowTally") -> tuple[int, Places]:
        """Return how many rows have a text of `other`, and (place there, place here) of the first."""
        at = other.rows_like(self)
        rows = np.flatnonzero(at >= 0)
        return len(rows), [(other.place(int(at[row])), self.place(int(row))) for row in rows[:SHOWN]]

    def unlike(self) -> tuple[int, Places]:
        """Return how many rows have the text of an earlier row and another label, and the places of the first."""
        at, labels = self.rows_like(self), np.array(self.labels, np.int16)
        rows = np.flatnonzero((at >= 0) & (labels[at] != labels) & (labels >= 0) & (labels[at] >= 0))
        return len(rows), [(self.place(int(at[row])), self.place(int(row))) for row in rows[:SHOWN]]

    def rows_like(self, other: "RowTally") -> NDArray[np.int64]:
        """Return for each row of `other` the first row here with the same text; -1: there is none."""
        keys, first = self._different()
        wanted = other._keys
        if not len(keys):
            return np.full(len(wanted), -1)
        at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        return np.where(keys[at] == wanted, first[at], -1)

    def _different(self) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """Return the distinct keys, sorted, and the first row of each; blank texts are left out."""
        keys, rows = np.unique(self._keys, return_index=True)
        there = keys != 0
        return keys[there], rows[there]

    @property
    def _keys(self) -> NDArray[np.uint64]:
        return np.array(self.keys, dtype=np.uint64)


LEAST, SHARE = 3, 0.1
"""The least letters of another script, and their least share of all letters, that make a text mixed."""
# Joiners are part of Persian and Hindi spelling, and of emoji: next to a blank or an ASCII sign they do nothing.
HIDDEN = re.compile(
    "[\u00ad\u180e\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]|[\u200c\u200d](?=[\\s\x00-\x7f]|\\Z)"
    "|(?:(?<=[\\s\x00-\x7f])|\\A)[\u200c\u200d]"
)
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufffd]")
"""Control characters other than tabs and line ends, and the sign that stands for bytes that could not be read."""
KINDS = {
    "other_script": "most letters are of another script",
    "romanised": "most letters are Latin",
    "mixed": "two scripts in one text",
    "decomposed": "letters and their marks apart (not NFC)",
    "hidden": "zero-width or direction signs",
    "control": "control characters or U+FFFD",
}
"""A finding in a row -> in words."""


@dataclass
class TextTally:
    """The texts of one language."""

    language: str
    rows: int = 0
    words: int = 0
    characters: int = 0
    letters: Counter[str] = field(default_factory=Counter[str])
    """First word of the names of letters, such as LATIN -> how many."""
    found: Counter[str] = field(default_factory=Counter[str])
    """One of `KINDS` -> rows."""
    first: dict[str, str] = field(default_factory=dict[str, str])
    """One of `KINDS` -> the first row that has it."""
    composed: int = 0
    """Rows whose decomposed form, with letters and marks apart, differs from the text."""

    def add(self, texts: Sequence[str], origin: str) -> None:
        """Count one row, its texts taken together."""
        text = "\n".join(texts)
        self.rows += 1
        self.words += len(text.split())
        self.characters += sum(map(len, texts))
        kinds = self._scripts(text)
        if not text.isascii():
            if not is_normalized("NFC", text):
                kinds.append("decomposed")
            elif not is_normalized("NFD", text):
                self.composed += 1
            kinds += ["hidden"] if HIDDEN.search(text) else []
        kinds += ["control"] if CONTROL.search(text) else []
        for kind in kinds:
            self.found[kind] += 1
            self.first.setdefault(kind, origin)

    def _scripts(self, text: str) -> list[str]:
        """Count the letters of a text and return the findings about their scripts."""
        own = script_words(self.language)
        if text.isascii():
            counts = Counter(LATIN=sum(map(str.isalpha, text)))
        else:
            counts = Counter[str]()
            for sign, times in Counter(text).items():
                if sign.isalpha() and (word := script_word(sign)) in LETTER_WORDS:
                    counts[word] += times
        self.letters.update(counts)
        total = counts.total()
        mine = sum(counts[word] for word in own) if own else max(counts.values(), default=0)
        if total <= LEAST or mine == total:
            return []
        if own and 2 * mine < total:
            return ["romanised" if 2 * counts["LATIN"] >= total else "other_script"]
        return ["mixed"] if total - mine >= max(LEAST, SHARE * total) else []

    @property
    def script(self) -> tuple[str, float]:
        """The script of most letters, and its share of all letters; empty where there are none."""
        if not self.letters.total():
            return "", 0.0
        own = script_words(self.language)
        word, most = self.letters.most_common(1)[0]
        if word in own:
            most = sum(self.letters[each] for each in own)
            word = next(iter(sorted(own))) if len(own) > 1 else word
        return word.capitalize() if word != "CJK" else word, most / self.letters.total()


@dataclass
class TokenTally:
    """Lengths in tokens, as counts: memory grows with the number of distinct lengths, not of rows."""

    lengths: Counter[int] = field(default_factory=Counter[int])
    longest: tuple[int, str] = (-1, "")
    """Tokens of the longest row, and where it was read; -1: there is none."""
    pieces: int = 0
    unknown: int = 0

    def add(self, tokens: int, pieces: int, unknown: int, origin: str) -> None:
        """Count one row."""
        self.lengths[tokens] += 1
        self.longest = max(self.longest, (tokens, origin), key=lambda each: each[0])
        self.pieces += pieces
        self.unknown += unknown

    def quantile(self, share: float) -> int:
        """Return the least length that a share of the rows does not exceed; 0 without rows."""
        left = share * self.lengths.total()
        for length in sorted(self.lengths):
            left -= self.lengths[length]
            if left <= 0:
                return length
        return 0

    def above(self, limit: int) -> int:
        """Return how many rows are longer."""
        return sum(rows for length, rows in self.lengths.items() if length > limit)
