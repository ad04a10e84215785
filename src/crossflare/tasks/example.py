"""Rows as all later stages use them: an example, the split that holds many, and the outline of a part.

An outline is what is known about a part without its texts: 11 bytes per row, so that files of any size can be checked
before a run. Faults that span several rows (an id that occurs twice, files that do not correspond) are refused here,
whether the rows are in memory or are only read once.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import islice
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from crossflare.disk.files import content_id
from crossflare.errors import UserError


@dataclass(frozen=True, slots=True)
class Answer:
    """One gold answer to a question."""

    text: str
    start: int | None = None
    """Code points of the context before it; None: the answer is not a span of the context."""


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled or unlabelled item in one language, with its translation where there is one."""

    id: str
    """Unique in its split, and the same in every language of a parallel set."""
    texts: tuple[str, ...]
    """One text, or two: premise and hypothesis, or question and context."""
    label: int | None = None
    """Index into the task's labels; None when unlabelled."""
    source: tuple[str, ...] | None = None
    """The same texts in the source language; None: no source is known."""
    origin: str = ""
    """`file:line` the row was read from, for messages."""
    answers: tuple[Answer, ...] = ()
    """Every gold answer to a question, in `texts`' own language."""
    clean_source: tuple[str, ...] | None = None
    """The labelled text that a machine-made `source` stands for; None: there is no source other than `source`."""
    source_answers: tuple[Answer, ...] = ()
    """The gold answers to a question in `source`, where it is labelled."""

    def with_source(self, source: tuple[str, ...] | None) -> "Example":
        """Return the same example with another source and without other facts about its source."""
        return replace(self, source=source, clean_source=None, source_answers=())


@dataclass(frozen=True, slots=True)
class Split:
    """The examples of one part of a set in one language."""

    part: str
    """`train`, `dev` or `test`."""
    language: str
    """BCP-47 tag of `Example.texts`."""
    examples: tuple[Example, ...]

    def __len__(self) -> int:
        return len(self.examples)

    def __iter__(self) -> Iterator[Example]:
        return iter(self.examples)

    @property
    def digest(self) -> str:
        """Content id over ids, texts, labels, sources, answers, clean sources and the sources' answers, in order."""
        rows = [[e.id, e.texts, e.label, e.source] for e in self.examples]
        answers = [[[a.text, a.start] for a in e.answers] for e in self.examples]
        if any(e.clean_source or e.source_answers for e in self.examples):
            others = [[e.clean_source, [[a.text, a.start] for a in e.source_answers]] for e in self.examples]
            return content_id([rows, answers, others])
        return content_id([rows, answers] if any(answers) else rows)


SOURCE, BLANK, ANSWER, GAP = 1, 2, 4, 8
"""Flags of a row: it has a source; none of its texts holds more than blanks; it has an answer; one text is blank."""
_AT_ONCE = 1 << 18
"""How many rows are compared at once."""


class Tally:
    """Rows counted one by one; 11 bytes of each are kept."""

    def __init__(self) -> None:
        self.keys, self.labels, self.flags = array("Q"), array("h"), array("B")

    def __len__(self) -> int:
        return len(self.keys)

    def add(self, key: int, example: Example) -> None:
        """Count a row by its key, a hash of 8 bytes that tells rows apart."""
        self.keys.append(key)
        self.labels.append(-1 if example.label is None else example.label)
        there = [bool(text.strip()) for text in example.texts]
        gaps = BLANK * (not any(there)) + GAP * (not all(there))
        self.flags.append(SOURCE * (example.source is not None) + ANSWER * bool(example.answers) + gaps)


@dataclass(frozen=True, slots=True)
class Outline:
    """The rows of one part in one language; N of them."""

    keys: NDArray[np.uint64]
    """[N] hashes of the ids."""
    labels: NDArray[np.int16]
    """[N] labels, -1 where there is none."""
    flags: NDArray[np.uint8]
    """[N] sums of `SOURCE`, `BLANK`, `ANSWER` and `GAP`."""
    read: Callable[[], Iterable[Example]]
    """Reads the rows again, to name one."""

    def __len__(self) -> int:
        return len(self.keys)

    @classmethod
    def of(cls, read: Callable[[], Iterable[Example]]) -> "Outline":
        """Read rows once, one at a time; `read` raises `UserError` for a faulty row."""
        made = Tally()
        for example in read():
            made.add(hash_of_id(example.id), example)
        keys, labels = np.frombuffer(made.keys, np.uint64), np.frombuffer(made.labels, np.int16)
        return cls(keys, labels, np.frombuffer(made.flags, np.uint8), read)

    def row(self, number: int) -> Example:
        """Return the row at a place; it is read again."""
        return next(islice(iter(self.read()), number, None))

    @property
    def place(self) -> str:
        """The file that the rows are read from, for messages."""
        return self.row(0).origin.rpartition(":")[0] if len(self) else "no file"

    def having(self, flag: int, count: int | None = None) -> int:
        """Return how many of the first `count` rows have a flag; None: of all."""
        return int(np.count_nonzero(self.flags[:count] & flag))

    def only_label(self, count: int | None = None) -> int | None:
        """Return the one label of the first `count` rows, or of all; None where they have several labels, or none."""
        read = self.labels[:count]
        return int(read[0]) if len(read) and read[0] >= 0 and bool((read == read[0]).all()) else None

    def with_sources(self, there: bool) -> "Outline":
        """Return the same rows, all with a source or all without one."""
        flags = (self.flags | SOURCE) if there else self.flags & (255 - SOURCE)
        return Outline(self.keys, self.labels, flags.astype(np.uint8, copy=False), self.read)


def hash_of_id(id: str) -> int:
    """Return the 8-byte hash of an id."""
    return int.from_bytes(blake2b(id.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def check_ids(outline: Outline) -> None:
    """Raise `UserError` for an id that occurs twice; it names the row, and the row that has the id already."""
    keys = np.sort(outline.keys)
    doubled = set(keys[1:][keys[1:] == keys[:-1]].tolist())
    seen: dict[str, str] = {}
    for example in outline.read() if doubled else ():
        if hash_of_id(example.id) not in doubled:
            continue
        if example.id in seen:
            raise taken(example, seen[example.id])
        seen[example.id] = example.origin


def taken(example: Example, by: str) -> UserError:
    """Return the error of a row whose id another row has."""
    return UserError(f"{example.origin}: the id '{example.id}' is taken by {by}; make ids unique")


NATIVE = "say translation.to_target: none to learn from these labels as they are, or "
"""The first advice for labelled rows that have no partner."""


def check_partners(
    rows: Outline, others: Outline, by: Literal["id", "row"], advice: str = "", *, first_advice: str = ""
) -> None:
    """Refuse rows that cannot be translations of `others`.

    Args:
        rows: Rows in the target language.
        others: Rows in the source language.
        by: `id`: items with the same id belong together, and `others` may hold more; `row`: equal places do.
        advice: What else a user can do about it.
        first_advice: What to try first.

    Raises:
        UserError: The counts differ (`row`), an id has no partner (`id`), or partners carry different labels.
    """
    counts = f"{len(rows)} rows against {len(others)} in the source language"
    if by == "row" and len(rows) != len(others):
        raise UserError(
            f"{rows.place} and {others.place}: {counts}; {first_advice}make rows correspond one to one{advice}"
        )
    order = None if by == "row" else np.argsort(others.keys)
    lost, first = 0, -1
    unlike: tuple[int, int] | None = None
    for start, partners in _partners(rows, others, order):
        missing = np.flatnonzero(partners < 0)
        first = start + int(missing[0]) if lost == 0 and len(missing) else first
        lost += len(missing)
        one, other = rows.labels[start : start + len(partners)], others.labels[partners]
        wrong = np.flatnonzero((partners >= 0) & (one >= 0) & (other >= 0) & (one != other))
        if unlike is None and len(wrong):
            unlike = start + int(wrong[0]), int(partners[wrong[0]])
    if lost:
        row = rows.row(first)
        raise UserError(
            f"{row.origin}: the id '{row.id}' and {lost - 1} more have no partner in {others.place} ({counts}); "
            f"{first_advice}give both files the same ids{advice}"
        )
    if unlike is not None:
        row, other = rows.row(unlike[0]), others.row(unlike[1])
        raise UserError(
            f"{row.origin} (label number {row.label}) and {other.origin} (label number {other.label}): a text and its "
            f"source must have the same label; the files do not correspond{advice}"
        )


def _partners(
    rows: Outline, others: Outline, order: NDArray[np.int64] | None
) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yield (first row, place of each row's partner, -1 for none), some rows at a time."""
    for start in range(0, len(rows), _AT_ONCE):
        keys = rows.keys[start : start + _AT_ONCE]
        if order is None:
            yield start, np.arange(start, start + len(keys))
            continue
        near = np.minimum(np.searchsorted(others.keys, keys, sorter=order), len(order) - 1)
        partners = order[near]
        yield start, np.where(others.keys[partners] == keys, partners, -1)


def outline_of(examples: Sequence[Example]) -> Outline:
    """Return the outline of rows that are in memory."""
    return Outline.of(lambda: examples)
