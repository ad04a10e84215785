"""Written signs: a letter with the marks on it is one, though a tokenizer may strip the marks.

Tokenizers that strip accents (BERT's uncased ones, MiniLM's) leave vowel and tone marks of Thai, Hindi or Arabic to no
token. An answer that ends with such a token's own text would lose them: its last sign would be another one.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import regex
from numpy.typing import NDArray

if TYPE_CHECKING:
    from crossflare.training.encoded import Numbers

_SIGN = regex.compile(r"\X")


def whole_signs(text: str, begin: "Numbers", end: "Numbers") -> "tuple[Numbers, Numbers]":
    """Return offsets in which each code point that no token covers is the token's whose written sign it is part of.

    A sign is an extended grapheme cluster (Unicode Standard Annex 29). Of two tokens in one sign the first gets it.

    Args:
        text: The text.
        begin: [T] first code point of each token, none of which is empty.
        end: [T] the code point after its last.
    """
    bare = _bare(text, begin, end)
    if not bare.any():
        return begin, end
    edges = np.array([0, *(match.end() for match in _SIGN.finditer(text))])
    place = np.arange(len(text) + 1)
    sign_begin = edges[np.searchsorted(edges, place, side="right") - 1]
    sign_end = edges[np.minimum(np.searchsorted(edges, place, side="right"), len(edges) - 1)]
    # For every place, the next code point at or behind it that has a token.
    taken = np.minimum.accumulate(np.where(np.append(bare, False), len(text), place)[::-1])[::-1]
    end = np.maximum(end, np.minimum(sign_end[end - 1], taken[end])).astype(end.dtype)
    bare = _bare(text, begin, end)
    free = np.maximum.accumulate(np.where(np.insert(bare, 0, False), 0, place))  # the end of what has a token before it
    return np.minimum(begin, np.maximum(sign_begin[begin], free[begin])).astype(begin.dtype), end


def _bare(text: str, begin: "Numbers", end: "Numbers") -> NDArray[Any]:
    """Return which code points are neither blank nor covered by a token."""
    depth = np.zeros(len(text) + 1, dtype=np.int64)
    np.add.at(depth, begin, 1)
    np.add.at(depth, end, -1)
    blank = np.array([sign.isspace() for sign in text], dtype=bool)
    return (depth.cumsum()[:-1] == 0) & ~blank
