"""Which label an answer in words names."""

import re
from collections.abc import Sequence

from crossflare.evaluation.answers import SIGNS
from crossflare.evaluation.metrics import NO_LABEL


def parse_label(answer: str, words: Sequence[str]) -> int:
    """Return the label that an answer names, `NO_LABEL` where it names none.

    The answer is a label's word, in upper or lower case, whatever marks stand around it; or it is a longer text, and
    the word that appears first in it counts, of two at the same place the longer one. A word inside of another word
    does not appear, except in scripts that are written without blanks.

    Args:
        answer: What the model wrote.
        words: The word of each of K labels.
    """
    said = answer.casefold()
    exact = [number for number, word in enumerate(words) if _bare(said) == _bare(word.casefold())]
    if exact:
        return exact[0]
    found = [
        (match.start(), -len(word), number)
        for number, word in enumerate(words)
        if (match := re.search(_pattern(word.casefold()), said))
    ]
    return min(found)[2] if found else NO_LABEL


def _bare(text: str) -> str:
    return text.strip().strip("_.,:;!?\"'`*()[]{}<>“”‘’«»。！？").strip()


def _pattern(word: str) -> str:
    """Return the expression that finds a word as a whole."""
    before, after = (
        "" if any(sign.match(edge) for sign in SIGNS.values()) else kind
        for edge, kind in ((word[:1], r"(?<![^\W_])"), (word[-1:], r"(?![^\W_])"))
    )
    return f"{before}{re.escape(word)}{after}"
