"""Which words of a text and of its translation belong together, and spans carried over by that."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from crossflare.translation.engines.lexicon import spans
from crossflare.translation.projection.spans import Span

if TYPE_CHECKING:
    import torch

DIAGONAL = 8.0
"""How much less likely a link is the farther it lies from the same relative place: exp(-8 |i/S - j/T|)."""
SPREAD = 3.0
"""A projected span has at most this many words per word of the original, and two more; else the links are wrong."""


class Aligner(Protocol):
    """Scores of all pairs of words."""

    def scores(self, source: str, target: str) -> NDArray[np.float64]:
        """Return [source words, target words] of `words.spans`; 0: no link."""
        ...


class PieceEncoder(Protocol):
    """An engine whose encoder can be asked for its states."""

    def encode(self, texts: Sequence[str], source: str) -> "list[torch.Tensor]":
        """Return one tensor [S, d_mt] per text."""
        ...

    def pieces(self, texts: Sequence[str], source: str) -> list[list[str]]:
        """Return the S tokens of each text as written, special ones too."""
        ...


@dataclass(frozen=True)
class StatesAligner:
    """Scores by the cosine of an MT encoder's states, a word being the mean of its tokens."""

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

    A piece is looked for from where the last one ended; one that is not there (a special token, or letters that the
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
    """Return the pairs of words that each choose the other: mutual argmax of scores [S, T] times a prior on places."""
    count, other = scores.shape
    if not count or not other:
        return []
    places = np.abs((np.arange(count)[:, None] + 0.5) / count - (np.arange(other)[None] + 0.5) / other)
    weighed = scores * np.exp(-diagonal * places)
    best, back = weighed.argmax(1), weighed.argmax(0)
    return [(i, int(j)) for i, j in enumerate(best) if weighed[i, j] > 0 and back[j] == i]


def carry_span(text: str, span: Span, translation: str, pairs: Sequence[tuple[int, int]]) -> Span | None:
    """Return the stretch of the translation from the first to the last word linked with one of `span`."""
    ours = [i for i, (start, end) in enumerate(spans(text)) if start < span.end and span.start < end]
    theirs = [j for i, j in pairs if i in set(ours)]
    if not theirs or max(theirs) - min(theirs) + 1 > SPREAD * len(ours) + 2:
        return None
    places = spans(translation)
    return Span(places[min(theirs)][0], places[max(theirs)][1], span.label)
