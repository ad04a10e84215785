"""A translated span found again: by marks that the engine translated with it, or by edit distance."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from string import ascii_lowercase
from typing import Any

import numpy as np

from crossflare.translation.engines.lexicon import fold, spans
from crossflare.translation.projection.spans import Labelled, Span, overlap

THRESHOLD = 0.5
"""The least similarity: 1 - edits / letters of the longer text."""
_MORE = 2  # how many words a window may have more or fewer than `wanted`


def similarity(a: str, b: str) -> float:
    """Return 1 - (least number of letters to insert, delete or replace) / (length of the longer text)."""
    if a == b:
        return 1.0
    longest = max(len(a), len(b))
    if not a or not b:
        return 0.0
    codes = np.frombuffer(b.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    places = np.arange(len(b) + 1)
    row = places.copy()
    for count, sign in enumerate(a, 1):
        new = np.empty_like(row)
        new[0] = count
        new[1:] = np.minimum(row[:-1] + (codes != ord(sign)), row[1:] + 1)
        row = np.minimum.accumulate(new - places) + places  # insertions, all at once
    return 1.0 - float(row[-1]) / longest


def search(wanted: str, text: str, near: float, threshold: float = THRESHOLD, label: str = "") -> Span | None:
    """Return the run of words in `text` that is most like `wanted`.

    Args:
        wanted: The text to find.
        text: The text to search.
        near: Among equally good places, the one nearest to this share of the text's length wins.
        threshold: The least similarity; see `similarity`.
        label: The label of the returned span.
    """
    places, target = spans(text), fold(wanted)
    count = len(spans(wanted))
    best: tuple[float, float, Span] | None = None
    for size in range(max(count - _MORE, 1), count + _MORE + 1):
        for first in range(len(places) - size + 1):
            start, end = places[first][0], places[first + size - 1][1]
            window = fold(text[start:end])
            # No edits make up for a difference in length or in letters, so most windows need no closer comparison.
            least = max(threshold, best[0] if best else 0.0)
            if (
                1 - abs(len(window) - len(target)) / max(len(window), len(target)) < least
                or _bound(window, target) < least
            ):
                continue
            found = similarity(window, target)
            distance = abs((start + end) / 2 / max(len(text), 1) - near)
            if found >= threshold and (best is None or (found, -distance) > (best[0], -best[1])):
                best = (found, distance, Span(start, end, label))
    return best[2] if best else None


def _bound(a: str, b: str) -> float:
    """Return an upper bound of the similarity, from the letters that both texts have."""
    common = sum(min(a.count(sign), b.count(sign)) for sign in set(b))
    return common / max(len(a), len(b))


@dataclass(frozen=True, slots=True)
class Marker:
    """One kind of marks."""

    name: str
    opening: str
    closing: str
    """`{}` in both marks stands for a letter of the span; without it all spans have the same marks."""

    def pair(self, number: int) -> tuple[str, str]:
        """Return the marks around span `number`."""
        return self.opening.format(ascii_lowercase[number]), self.closing.format(ascii_lowercase[number])

    def can_mark(self, row: Labelled) -> bool:
        """Whether these marks can distinguish the spans of `row`, whose text must not hold the marks itself."""
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
"""Engine -> the marks that survive its translation, the best first (Apertium translates the letters of tags)."""
OTHERS = ("tags", "brackets")


def markers_for(identity: Mapping[str, Any]) -> tuple[Marker, ...]:
    """Return the marks for an engine, in the order in which they are tried."""
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
        The text without marks, and one span for each of `row`; None unless exactly the marks that were put in came
        through, in pairs, with something between them. Spans with equal marks are taken in their order.
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
        if inner[0].isspace() and text and not text[-1].isspace():  # blanks inside the marks go outside
            text += " "
        start = len(text)
        text += inner.strip()
        spans[number] = Span(start, len(text), row.spans[number].label)
        if inner[-1].isspace() and after and after.isalnum():
            text += " "
        end = closing.end()
    return text + translation[end:], tuple(spans[number] for number in range(len(pairs)))
