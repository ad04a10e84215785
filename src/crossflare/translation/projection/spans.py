"""Spans, their fate in a translation, and how linked words carry them over."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from crossflare.errors import UserError
from crossflare.translation.engines.lexicon import spans

if TYPE_CHECKING:
    import torch


class Way(StrEnum):
    """How a span was found in a translation."""

    MARKERS = "markers"
    """The text was translated with marks around the span, and the marks came through."""
    ALIGNMENT = "alignment"
    """The span's words were aligned with those of the translation."""
    FUZZY = "fuzzy"
    """The span was translated separately and searched for in the translation."""


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a text, `text[start:end]`, counted in code points."""

    start: int
    end: int
    label: str = ""


@dataclass(frozen=True, slots=True)
class Labelled:
    """A text and its spans."""

    text: str
    spans: tuple[Span, ...]

    def __post_init__(self) -> None:
        for span in self.spans:
            if not 0 <= span.start < span.end <= len(self.text):
                raise UserError(
                    f"the span {span.start} to {span.end} is not in its text of {len(self.text)} characters:"
                    f" {self.text[:60]!r}; correct the offsets"
                )

    def texts(self) -> tuple[str, ...]:
        """Return the text of each span."""
        return tuple(self.text[span.start : span.end] for span in self.spans)


@dataclass(frozen=True, slots=True)
class Projected:
    """A translation, and what became of each span of the original."""

    text: str
    spans: tuple[Span | None, ...]
    """One for each span of the original, in order; None: it was not found."""
    ways: tuple[Way | None, ...]

    @property
    def whole(self) -> bool:
        """Whether every span was found."""
        return None not in self.spans


@dataclass(frozen=True, slots=True)
class Yield:
    """How many of a language's rows came through."""

    language: str
    rows: int
    dropped: int
    """Rows with a span that was not found."""
    ways: dict[str, int]
    """Way -> how many spans it found; `none`: spans that were not found."""


def count_yield(language: str, rows: Iterable[Projected]) -> Yield:
    """Count what became of rows and of their spans."""
    ways: Counter[str] = Counter()
    total = dropped = 0
    for row in rows:
        total += 1
        dropped += not row.whole
        ways.update("none" if way is None else way.value for way in row.ways)
    return Yield(language, total, dropped, dict(sorted(ways.items())))


def overlap(spans: Sequence[Span]) -> bool:
    """Whether any two spans share a character."""
    ordered = sorted(spans, key=lambda span: span.start)
    return any(left.end > right.start for left, right in pairwise(ordered))


DIAGONAL = 8.0
"""A link is less likely the farther it is from the same relative place: by exp(-8 |i/S - j/T|)."""
SPREAD = 3.0
"""A projected span has at most this many words per word of the original, plus two; else the links are wrong."""


class Aligner(Protocol):
    """Scores of all pairs of words."""

    def scores(self, source: str, target: str) -> NDArray[np.float64]:
        """Return [source words, target words] of `words.spans`; 0: no link."""
        ...


class PieceEncoder(Protocol):
    """An engine whose encoder returns its states."""

    def encode(self, texts: Sequence[str], source: str) -> "list[torch.Tensor]":
        """Return one tensor [S, d_mt] per text."""
        ...

    def pieces(self, texts: Sequence[str], source: str) -> list[list[str]]:
        """Return the S tokens of each text as written, special ones too."""
        ...


@dataclass(frozen=True)
class StatesAligner:
    """Scores by the cosine of an MT encoder's states; a word is the mean of its tokens."""

    engine: PieceEncoder
    source: str
    target: str

    def scores(self, source: str, target: str) -> NDArray[np.float64]:
        """See `Aligner`."""
        ours, theirs = self._words(source, self.source), self._words(target, self.target)
        return np.maximum(ours @ theirs.T, 0.0)

    def _words(self, text: str, language: str) -> NDArray[np.float64]:
        """Return one unit vector [words, d_mt] per word; zeros for a word that no token belongs to."""
        states = self.engine.encode([text], language)[0].float().numpy().astype(np.float64)
        owners = word_of_pieces(text, self.engine.pieces([text], language)[0])
        count = len(spans(text))
        sums = np.zeros((count, states.shape[1]))
        for owner, state in zip(owners, states, strict=True):
            if owner is not None:
                sums[owner] += state
        return sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)


def word_of_pieces(text: str, pieces: Sequence[str]) -> list[int | None]:
    """Return which word of `words.spans` each sub-word piece is part of; None for special tokens and punctuation.

    Each piece is searched from the end of the last one; a piece that is not found (a special token, or letters that the
    tokenizer normalised) belongs to no word.
    """
    places, small = spans(text), text.lower()
    owners: list[int | None] = []
    at = 0
    for piece in pieces:
        letters = piece.replace("\u2581", " ").strip().lower()
        found = small.find(letters, at, at + len(letters) + 24) if letters else -1
        if found < 0 or len(small) != len(text):
            owners.append(None)
            continue
        at = found + len(letters)
        owners.append(next((i for i, (start, end) in enumerate(places) if start < at and found < end), None))
    return owners


def links(scores: NDArray[np.float64], diagonal: float = DIAGONAL) -> list[tuple[int, int]]:
    """Return the pairs of words that choose each other: mutual argmax of scores [S, T] times a prior on places."""
    count, other = scores.shape
    if not count or not other:
        return []
    places = np.abs((np.arange(count)[:, None] + 0.5) / count - (np.arange(other)[None] + 0.5) / other)
    weighed = scores * np.exp(-diagonal * places)
    best, back = weighed.argmax(1), weighed.argmax(0)
    return [(i, int(j)) for i, j in enumerate(best) if weighed[i, j] > 0 and back[j] == i]


def carry_span(text: str, span: Span, translation: str, pairs: Sequence[tuple[int, int]]) -> Span | None:
    """Return the part of the translation from the first to the last word linked with a word of `span`."""
    ours = [i for i, (start, end) in enumerate(spans(text)) if start < span.end and span.start < end]
    theirs = [j for i, j in pairs if i in set(ours)]
    if not theirs or max(theirs) - min(theirs) + 1 > SPREAD * len(ours) + 2:
        return None
    places = spans(translation)
    return Span(places[min(theirs)][0], places[max(theirs)][1], span.label)
