"""What is projected, what comes out, and the counts of it."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from crossflare.errors import UserError


class Way(StrEnum):
    """How a span was found in a translation."""

    MARKERS = "markers"
    """The text was translated with marks around the span, which came through."""
    ALIGNMENT = "alignment"
    """Its words were aligned with those of the translation."""
    FUZZY = "fuzzy"
    """The span was translated by itself and looked for in the translation."""


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
    """A translation and what became of each span of the original."""

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
    """How much of a language's rows came through."""

    language: str
    rows: int
    dropped: int
    """Rows of which a span was not found."""
    ways: dict[str, int]
    """Spans by the way in which they were found; `none` for the others."""


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
