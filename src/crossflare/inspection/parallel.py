"""Whether rows that should be translations of each other look like it, in any pair of languages.

Four signs need no dictionary: pieces of words that both texts have (names, loans, numbers), their lengths, their marks,
and, where these show nothing, words that go together in half of the rows and are searched in the other half. Each text
is compared with the sources of all other rows: its own source must stand out among them. Where many texts fit the
source of a row at the same distance better, the rows are shifted.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crossflare.inspection.found import Fit
from crossflare.tasks.example import hash_of_id

MOST, BLOCK, LONGEST = 1500, 50, 1000
"""Most rows of a language that are compared; rows of a block; most characters of a text that are compared."""
LEAST = 30
"""With fewer rows the comparison shows nothing."""
ALIKE = 0.72
"""Share of other sources that a text's own must clearly beat, on average; by chance it beats half of them."""
SURE = 8.0
"""Least standard errors of a whole shift; the best of a thousand shifts has 3 or 4 by chance."""
OWN, BETTER = 1.5, 4.0
"""Standard deviations above other sources: less than the first for its own source, more than the second for another."""
SHIFTED = 6
"""Least texts that fit the row at the same distance for a part of the rows to be shifted; 3 or 4 do by chance."""
_WORD, _NUMBER = re.compile(r"\w+"), re.compile(r"\d+")
_MARKS = dict(zip("؟？！。，،：；“”«»।።፣、（）۔؛", '??!.,,:;""""..,,().;', strict=True))
Matrix = NDArray[np.floating[Any]]


class KeptRow(NamedTuple):
    """One row of a sample."""

    number: int
    """Its place in the part."""
    id: str
    text: str
    origin: str


class KeptRows:
    """At most `most` rows of a part, in blocks chosen by their numbers: the same ones in every language."""

    def __init__(self, most: int) -> None:
        self._most = max(1, most // BLOCK)
        self.count = 0
        """How many rows were offered."""
        self._blocks: dict[int, list[KeptRow]] = {}

    def add(self, id: str, texts: Sequence[str], origin: str) -> None:
        """Keep a row, or leave it out."""
        number, block = self.count, self.count // BLOCK
        self.count += 1
        if number % BLOCK == 0:
            self._blocks[block] = []
            if len(self._blocks) > self._most:
                del self._blocks[max(self._blocks, key=lambda each: hash_of_id(str(each)))]
        if block in self._blocks:
            self._blocks[block].append(KeptRow(number, id, "\n".join(texts)[:LONGEST], origin))

    @property
    def rows(self) -> list[KeptRow]:
        """The kept rows, in order."""
        return [row for block in sorted(self._blocks) for row in self._blocks[block]]


def fit_of(pairs: Sequence[tuple[KeptRow, KeptRow]]) -> Fit:
    """Compare texts with the sources that they are paired with.

    Args:
        pairs: N (row in the target language, its row in the source language).
    """
    count = len(pairs)
    texts, sources = [one.text for one, _ in pairs], [other.text for _, other in pairs]
    copied = sum(one.strip() == other.strip() for one, other in zip(texts, sources, strict=True))
    if count < LEAST:
        return Fit(count, 0.0, copied, None)
    words = _standard(_common(texts, sources, _pieces))
    shapes = _shapes(texts), _shapes(sources)
    scores = _standard(words + 0.7 * _standard(_likely(*shapes)))
    fit, error = beaten(scores), 0.29 / math.sqrt(count)
    found = _whole(words, shapes[0][:, 0], shapes[1][:, 0])
    if found and fit + 3 * error < ALIKE:
        there = [(pairs[row][0].origin, pairs[row + found][1].origin) for row in range(max(0, -found), count)[:2]]
        return Fit(count, fit, copied, True, found, "rows", count - abs(found), there)
    part = _some(scores, pairs)
    if part is not None:
        by, shift, rows = part
        places = [(pairs[row][0].origin, pairs[best][1].origin) for row, best in rows[:2]]
        return Fit(count, fit, copied, True, shift, by, len(rows), places)
    if fit + 3 * error >= ALIKE:
        return Fit(count, fit, copied, True)
    taught = beaten(_taught(texts, sources))
    unlike = max(fit, taught) + 3 * math.sqrt(2) * error < ALIKE
    return Fit(count, max(fit, taught), copied, None if count < 2 * LEAST else not unlike)


def beaten(scores: Matrix) -> float:
    """Return the share of other sources that a text's own source beats; equal ones count half.

    Args:
        scores: [N, N], the score of each text with each source.
    """
    own = scores.diagonal()[:, None]
    others = max(1, len(scores) - 1)
    return float(((scores < own).sum() + 0.5 * ((scores == own).sum() - len(scores))) / (others * len(scores)))


def _some(scores: Matrix, pairs: Sequence[tuple[KeptRow, KeptRow]]) -> tuple[str, int, list[tuple[int, int]]] | None:
    """Return (ids or rows, distance, (text, source) places) of texts that fit an equally distant source better."""
    best = scores.argmax(1)
    odd = np.flatnonzero((scores.diagonal() < OWN) & (scores.max(1) > BETTER)).tolist()
    places = [(row, int(best[row])) for row in odd]
    ways: dict[str, Callable[[int, int], int]] = {"rows": lambda row, other: other - row}
    if all(row.id.isdecimal() for pair in pairs for row in pair):
        ways["ids"] = lambda row, other: int(pairs[other][1].id) - int(pairs[row][1].id)
    found: list[tuple[int, str, int]] = []
    for by, distance in ways.items():
        (shift, most), (_, second) = [*Counter(distance(*each) for each in places).most_common(2), (0, 0), (0, 0)][:2]
        if most >= max(SHIFTED, 2 * second, len(places) / 25):
            found.append((most, by, shift))
    if not found:
        return None
    _, by, shift = max(found)
    return by, shift, [each for each in places if ways[by](*each) == shift]


def _whole(words: Matrix, lengths: Matrix, others: Matrix) -> int:
    """Return by how many rows all rows are shifted, up to a third of their number; 0: they are not."""
    count = len(words)
    best, at = SURE, 0
    for shift in range(-(count // 3), count // 3 + 1):
        here = slice(max(0, -shift), count - max(0, shift))
        there = slice(max(0, shift), count - max(0, -shift))
        size = count - abs(shift)
        sure = math.sqrt(size) * (float(words.diagonal(shift).mean()) + float((lengths[here] * others[there]).mean()))
        if sure > best:
            best, at = sure, shift
    return at


def _standard(scores: Matrix) -> Matrix:
    """Return scores [N, N] as standard deviations above the mean of each row."""
    less = scores - scores.mean(1, keepdims=True)
    return less / (less.std(1, keepdims=True) + 1e-6)


def _folded(text: str) -> str:
    """Return a text in lower case, without accents, with ASCII digits."""
    signs = unicodedata.normalize("NFKD", text.casefold())
    if signs.isascii():
        return signs
    return "".join(str(unicodedata.digit(s, s)) for s in signs if not unicodedata.combining(s))


def _pieces(text: str) -> set[str]:
    """Return each run of four signs in a text's words, and its numbers."""
    folded = _folded(text)
    joined = f" {' '.join(_WORD.findall(folded))} "
    return {joined[at : at + 4] for at in range(len(joined) - 3)} | {f"#{n}" for n in _NUMBER.findall(folded)}


def _words(text: str) -> set[str]:
    return set(_WORD.findall(_folded(text)))


def _bags(texts: Sequence[str], cut: Callable[[str], set[str]], known: dict[str, int]) -> Any:
    """Return a sparse [N, V] of which text has which piece; new pieces are added to `known`."""
    from scipy.sparse import csr_matrix

    places, starts = list[int](), [0]
    for text in texts:
        places += sorted(known.setdefault(piece, len(known)) for piece in cut(text))
        starts.append(len(places))
    return csr_matrix((np.ones(len(places), np.float32), places, starts), shape=(len(texts), len(known)))


def _common(texts: Sequence[str], sources: Sequence[str], cut: Callable[[str], set[str]]) -> Matrix:
    """Return [N, N] how much each text has in common with each source: rare pieces weigh most."""
    known: dict[str, int] = {}
    here = _bags(texts, cut, known)
    there = _bags(sources, cut, known)
    here.resize(len(texts), len(known))
    often, other = (np.asarray(each.sum(0)).ravel() for each in (here, there))
    rare = np.log(len(texts) / np.maximum(often, 1)) * np.log(len(sources) / np.maximum(other, 1))
    return _scaled((here.multiply(rare).tocsr() @ there.T).toarray(), here, there)


def _taught(texts: Sequence[str], sources: Sequence[str]) -> Matrix:
    """Return [N/2, N/2] how well words of every other row go together, learnt from the rows between them."""
    here, there = _bags(texts, _words, {}), _bags(sources, _words, {})
    joint = (here[::2].T @ there[::2]).tocoo()
    one, other = (np.asarray(each[::2].sum(0)).ravel() for each in (here, there))
    dice = 2 * joint.data / (one[joint.row] + other[joint.col])
    joint.data = np.where(joint.data > 1, dice**2, 0).astype(np.float32)
    here, there = here[1::2], there[1::2]
    return _scaled((here @ joint.tocsr() @ there.T).toarray(), here, there)


def _scaled(scores: Matrix, here: Any, there: Any) -> Matrix:
    """Return scores divided by the sizes of both texts; five pieces are added, so that short ones do not win."""
    one, other = (np.sqrt(np.asarray(each.sum(1)).ravel() + 5) for each in (here, there))
    return (scores / (one[:, None] * other[None])).astype(np.float32)


def _shapes(texts: Sequence[str]) -> Matrix:
    """Return [N, 7] the length of each text and the number of its marks, each in standard deviations."""
    rows: list[list[float]] = []
    for text in texts:
        marks = Counter(_MARKS.get(sign, sign) for sign in text)
        rows.append([math.log(len(text.strip()) + 8), *(math.log1p(marks[mark]) for mark in '?!.,:"')])
    found = np.array(rows, np.float32)
    return (found - found.mean(0)) / (found.std(0) + 1e-6)


def _likely(here: Matrix, there: Matrix) -> Matrix:
    """Return [N, N] how much more likely shapes are as a pair than as two texts, by the correlations of pairs."""
    total = np.zeros((len(here), len(there)), np.float32)
    for place, r in enumerate((here * there).mean(0).clip(0, 0.99).tolist()):
        if r > 0.1:
            one, other, rest = here[:, place][:, None], there[:, place][None], 1 - r**2
            with_it = (2 * r * one * other - r**2 * (one**2 + other**2)) / (2 * rest) - 0.5 * math.log(rest)
            total += with_it.clip(-4, 4)
    return total
