"""Whether aligned texts can be translations of each other: what a shifted, copied or swapped file looks like."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossflare.errors import UserError
from crossflare.translation.pairs import Pair

MAX_COPIES = 0.5
"""Of all pairs; real corpora have a few per cent of untranslated ones."""
MAX_RATIO = 5.0
"""Of the middle pair's characters; Chinese to English is about 3."""
ENOUGH = 100
"""Pairs below which shares and correlations say little."""
MIN_CORRELATION = 0.4
"""Between the lengths of texts and translations, in ranks: .72 to .97 in aligned corpora, -.06 to .20 once shifted."""


def check_pairs(pairs: Sequence[Pair], name: str) -> None:
    """Refuse aligned texts that cannot be translations.

    Args:
        pairs: (text, translation).
        name: Of the files, for messages.

    Raises:
        UserError: No filled pair; more than half are copies or lack one side; lengths that differ too much, or do not
            go together, which is what a missing line does. The numbers are named.
    """
    filled = [(text, other) for text, other in pairs if text.strip()]
    if not filled:
        raise UserError(f"{name}: expected texts and their translations, found {len(pairs)} empty pair(s)")
    empty = sum(not other.strip() for _, other in filled)
    if empty > MAX_COPIES * len(filled):
        raise UserError(f"{name}: {empty} of {len(filled)} texts have an empty translation; check the columns")
    both = [(text.strip(), other.strip()) for text, other in filled if other.strip()]
    copies = sum(text == other for text, other in both)
    if len(both) >= ENOUGH and copies > MAX_COPIES * len(both):
        raise UserError(
            f"{name}: {copies} of {len(both)} translations are copies of their texts ({copies / len(both):.0%}, at most"
            f" {MAX_COPIES:.0%}); check that the second side is translated, or set check: false"
        )
    lengths = np.array([[len(text), len(other)] for text, other in both], dtype=np.float64)
    ratio = float(np.median(lengths[:, 1] / lengths[:, 0]))
    if len(both) >= ENOUGH and not 1 / MAX_RATIO <= ratio <= MAX_RATIO:
        raise UserError(
            f"{name}: the middle translation has {ratio:.2f} times the characters of its text (expected"
            f" {1 / MAX_RATIO:g} to {MAX_RATIO:g}); check that line i translates line i, or set check: false"
        )
    if len(both) >= ENOUGH and len(np.unique(lengths[:, 0])) > 20:
        together = _correlation(lengths[:, 0], lengths[:, 1])
        if together < MIN_CORRELATION:
            raise UserError(
                f"{name}: the lengths of texts and translations do not go together (rank correlation {together:.2f},"
                f" at least {MIN_CORRELATION}): the lines are probably shifted; align them, or set check: false"
            )


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    from scipy.stats import spearmanr

    found: Any = spearmanr(a, b)
    return float(np.nan_to_num(found.statistic))
