"""A translated span, looked for in the translated text by edit distance."""

import numpy as np

from crossflare.translation.projection.spans import Span
from crossflare.translation.words import fold, spans

THRESHOLD = 0.5
"""The least similarity, 1 - edits / letters of the longer one."""
_MORE = 2  # words by which a window may be longer or shorter than what is looked for


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
        wanted: What is looked for.
        text: Where.
        near: Of equally good places the nearest to this share of the text's length wins.
        threshold: The least similarity; see `similarity`.
        label: Of the span that is returned.
    """
    places, target = spans(text), fold(wanted)
    count = len(spans(wanted))
    best: tuple[float, float, Span] | None = None
    for size in range(max(count - _MORE, 1), count + _MORE + 1):
        for first in range(len(places) - size + 1):
            start, end = places[first][0], places[first + size - 1][1]
            window = fold(text[start:end])
            # No edits make up for a difference in length or in letters: most windows need no closer look.
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
    """Return more than the similarity can be: by the letters that only one of the texts has."""
    common = sum(min(a.count(sign), b.count(sign)) for sign in set(b))
    return common / max(len(a), len(b))
