"""Marks around spans that travel through an engine (as in EasyProject, Chen et al., 2023)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from string import ascii_lowercase
from typing import Any

from crossflare.translation.projection.spans import Labelled, Span, overlap


@dataclass(frozen=True, slots=True)
class Marker:
    """A kind of marks."""

    name: str
    opening: str
    closing: str
    """`{}` in both stands for a letter of the span; without it all spans have the same marks."""

    def pair(self, number: int) -> tuple[str, str]:
        """Return the marks around span `number`."""
        return self.opening.format(ascii_lowercase[number]), self.closing.format(ascii_lowercase[number])

    def can_mark(self, row: Labelled) -> bool:
        """Whether the spans of `row` can be told apart by these marks, which its text must not hold itself."""
        if not row.spans or len(row.spans) > len(ascii_lowercase) or overlap(row.spans):
            return False
        if len(row.spans) > 1 and "{}" not in self.opening and len({span.label for span in row.spans}) > 1:
            return False
        return not any(mark in row.text for number in range(len(row.spans)) for mark in self.pair(number))


MARKERS: Mapping[str, Marker] = {
    "brackets": Marker("brackets", "[", "]"),
    "tags": Marker("tags", "<{}>", "</{}>"),
    "quotes": Marker("quotes", "\u00ab", "\u00bb"),
}
BY_ENGINE: Mapping[str, tuple[str, ...]] = {"apertium": ("brackets", "quotes"), "dictionary": ("brackets", "quotes")}
"""Engine -> the marks that come through it, the best first (Apertium translates the letters of tags)."""
OTHERS = ("tags", "brackets")


def markers_for(identity: Mapping[str, Any]) -> tuple[Marker, ...]:
    """Return the marks for an engine, in the order in which they should be tried."""
    return tuple(MARKERS[name] for name in BY_ENGINE.get(str(identity.get("engine")), OTHERS))


def mark(row: Labelled, marker: Marker) -> str:
    """Return the text with marks around each span; see `Marker.can_mark`."""
    text = row.text
    for number, span in sorted(enumerate(row.spans), key=lambda item: -item[1].start):
        opening, closing = marker.pair(number)
        text = text[: span.start] + opening + text[span.start : span.end] + closing + text[span.end :]
    return text


def unmark(translation: str, row: Labelled, marker: Marker) -> tuple[str, tuple[Span, ...]] | None:
    """Take the marks out of a translation.

    Returns:
        The clean text and one span for each of `row`; None unless exactly the marks that were put in came through, in
        pairs, with something between. Spans with equal marks are taken in their order.
    """
    pairs = [marker.pair(number) for number in range(len(row.spans))]
    pattern = re.compile("|".join(re.escape(mark) for mark in dict.fromkeys(mark for pair in pairs for mark in pair)))
    found = list(pattern.finditer(translation))
    opened = found[::2]
    if len(found) != 2 * len(pairs):
        return None
    wanted = {pair: [number for number, other in enumerate(pairs) if other == pair] for pair in pairs}
    for same in wanted.values():
        same.sort(key=lambda number: row.spans[number].start)
    text, end = "", 0
    spans: dict[int, Span] = {}
    for opening, closing in zip(opened, found[1::2], strict=True):
        same = wanted.get((opening[0], closing[0]))
        inner = translation[opening.end() : closing.start()]
        if not same or not inner.strip():
            return None
        number = same.pop(0)
        before, after = translation[end : opening.start()], translation[closing.end() : closing.end() + 1]
        text += before
        if inner[0].isspace() and text and not text[-1].isspace():  # blanks inside the marks belong outside
            text += " "
        start = len(text)
        text += inner.strip()
        spans[number] = Span(start, len(text), row.spans[number].label)
        if inner[-1].isspace() and after and after.isalnum():
            text += " "
        end = closing.end()
    return text + translation[end:], tuple(spans[number] for number in range(len(pairs)))
