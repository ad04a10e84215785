"""Paired tests over test examples, for the trained models as they are: permutation, McNemar, detectable differences.

Shapes: N examples, S seeds, F statistics of an example, R sampled permutations.

The bootstrap of `significance` also covers other seeds; the tests here do not. If two methods were alike, their answers
to an example could change places: swapping them at random examples, for all seeds at once, gives the differences that
chance produces (Noreen, 1989; Yeh, COLING 2000). Which examples are swapped depends on their ids and `random_seed`
alone, so that parallel languages are swapped once for all of them, and every method alike. scipy's `permutation_test`
draws again for each pair, so the draws are made here; its results agree (see the tests).
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike

from crossflare.disk.files import content_id
from crossflare.errors import UserError
from crossflare.evaluation.metrics import FloatArray, LabelCounts, Labels, metrics_over, statistics
from crossflare.evaluation.significance import RESAMPLES, random_stream

POWER, LEVEL = 0.8, 0.05
_CHUNK = 4_000_000
"""Most swaps held at once (R_chunk * N)."""
_TIE = 1e-9
"""The most that two scores can differ when they are one sum, added up in another order."""
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two methods' answers to the same examples; a score is a function of the sum of statistics over examples."""

    a: FloatArray
    """[S, N, F]"""
    b: FloatArray
    """[S, N, F]"""
    score: Callable[[FloatArray], FloatArray]
    """Sums [..., F] to scores [...]."""


def label_pair(gold: ArrayLike, a: ArrayLike, b: ArrayLike, classes: int, metric: str, over: Labels = "met") -> Pair:
    """Return the pair of two methods' labels [S, N] for a metric of `METRICS`, macro-F1 over the labels `over`.

    Raises:
        UserError: The labels do not match.
    """
    labels = np.arange(classes)
    rows = [statistics(gold, each, classes).reshape(np.size(gold), -1, classes) for each in (a, b)]
    seeds = (rows[0].shape[1] - 1) // 2

    def per_seed(each: FloatArray) -> FloatArray:
        parts = [np.repeat(each[:, :1], seeds, 1), each[:, 1 : 1 + seeds], each[:, 1 + seeds :]]
        return np.concatenate(parts, axis=2).transpose(1, 0, 2)

    def score(sums: FloatArray) -> FloatArray:
        return metrics_over(over)[metric](LabelCounts(*(sums[..., labels + part * classes] for part in range(3))))

    return Pair(per_seed(rows[0]), per_seed(rows[1]), score)


def value_pair(a: ArrayLike, b: ArrayLike) -> Pair:
    """Return the pair of two methods' scores of examples [S, N], whose mean is the metric."""
    rows = [np.asarray(each, dtype=np.float64)[..., None] for each in (a, b)]
    number = rows[0].shape[1]
    return Pair(rows[0], rows[1], lambda sums: sums[..., 0] / number)


@dataclass(frozen=True, slots=True)
class Swapped:
    """The difference of two methods as observed, and with their answers swapped at random examples."""

    language: str
    ids: tuple[str, ...]
    observed: float
    """First minus second, mean over seeds."""
    swapped: FloatArray
    """[R]"""
    exact: float | None
    """The p over all possible swaps, where there are at most R."""

    @property
    def p(self) -> float:
        """Two-sided p; for R sampled swaps never below 1 / (R + 1) (Phipson and Smyth, 2010)."""
        if self.exact is not None:
            return self.exact
        return (1 + int(_extreme(self.observed, self.swapped).sum())) / (1 + len(self.swapped))


def swap(
    language: str,
    ids: Sequence[str],
    pairs: Mapping[Key, Pair],
    *,
    resamples: int = RESAMPLES,
    random_seed: int = 0,
) -> dict[Key, Swapped]:
    """Swap the answers of pairs of methods at random examples, at the same ones for every pair.

    Args:
        language: The language of the examples, for messages.
        ids: N ids; two languages with the same ids in the same order are parallel and swapped alike.
        pairs: Any number of pairs over these examples, under any names.
        resamples: R.
        random_seed: Chooses the swaps.

    Raises:
        UserError: A pair is not over these examples, or a score is not a number.
    """
    halves = {key: _half(language, len(ids), pair) for key, pair in pairs.items()}
    centres = {key: (pair.a + pair.b).sum(1, dtype=np.float64) / 2 for key, pair in pairs.items()}
    drawn: dict[Key, list[FloatArray]] = {key: [] for key in pairs}
    generator = random_stream(random_seed, ["swaps", *ids])
    size = max(1, _CHUNK // max(1, len(ids)))
    for start in range(0, resamples, size):
        signs = 1 - 2 * generator.integers(2, size=(min(size, resamples - start), len(ids)), dtype=np.int8)
        converted = {dtype: signs.astype(dtype) for dtype in {half.dtype for half in halves.values()}}
        for key, pair in pairs.items():
            half = halves[key]
            drawn[key].append(_differences(pair, centres[key], half, converted[half.dtype]))
    found: dict[Key, Swapped] = {}
    for key, pair in pairs.items():
        one = _differences(pair, centres[key], halves[key], np.ones((1, len(ids)), dtype=halves[key].dtype))
        exact = _exact(pair, centres[key], halves[key], resamples)
        found[key] = Swapped(language, tuple(ids), float(one[0]), np.concatenate(drawn[key]), exact)
    return found


def swap_mean(languages: Sequence[Swapped]) -> Swapped:
    """Return the mean over languages, swap by swap.

    Raises:
        UserError: Two languages share some of their test items but not all: they are neither parallel nor separate.
    """
    first = languages[0]
    for index, each in enumerate(languages):
        for other in languages[:index]:
            shared = len(set(each.ids) & set(other.ids))
            if each.ids != other.ids and shared:
                raise UserError(
                    f"expected {other.language} and {each.language} with the same test items or with none in common, "
                    f"got {shared} shared of {len(other.ids)} and {len(each.ids)}; give unlike items unlike ids"
                )
    if len(languages) == 1:
        return first
    return Swapped(
        "+".join(each.language for each in languages),
        tuple(content_id(list(each.ids)) for each in languages),
        float(np.mean([each.observed for each in languages])),
        np.mean([each.swapped for each in languages], axis=0),
        None,
    )


def mcnemar(gold: ArrayLike, a: ArrayLike, b: ArrayLike) -> float:
    """Return the exact two-sided p of McNemar's test that two methods [N] err equally often on labels [N]."""
    from scipy.stats import binomtest

    right_a, right_b = np.asarray(a) == np.asarray(gold), np.asarray(b) == np.asarray(gold)
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    return float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def detectable(differences: ArrayLike) -> float | None:
    r"""Return the least true difference of means that a two-sided paired test would find with probability POWER.

    With psi the mean square of the examples' differences (for the labels of one seed the share of discordant
    examples), Connor (Biometrics 43, 1987, p. 207) needs

        N = (z_{1 - LEVEL/2} sqrt(psi) + z_POWER sqrt(psi - delta^2))^2 / delta^2

    examples to find delta; the function solves this for delta.

    Args:
        differences: [N] score of one method minus that of the other on each example, mean over seeds.

    Returns:
        Delta, between 0 and 1; None where the methods never differ or there are too few examples.
    """
    from scipy.stats import norm

    values = np.asarray(differences, dtype=np.float64)
    psi, number = float(np.mean(values**2)), values.size
    alpha, beta = float(norm.ppf(1 - LEVEL / 2)), float(norm.ppf(POWER))
    rest = number + beta**2 - alpha**2
    if psi == 0 or rest < 0:
        return None
    found = float(np.sqrt(psi) * (np.sqrt(number) * alpha + beta * np.sqrt(rest)) / (number + beta**2))
    return found if found <= 1 else None


def _half(language: str, number: int, pair: Pair) -> FloatArray:
    """Return half the difference of the statistics [S, N, F], after checking them."""
    if pair.a.shape != pair.b.shape or pair.a.shape[1] != number:
        raise UserError(
            f"expected both methods' answers to the {number} test items of {language}, got {pair.a.shape[1]} and "
            f"{pair.b.shape[1]} from {len(pair.a)} and {len(pair.b)} seeds; predict again with one set"
        )
    half = (pair.a - pair.b) / 2
    if not np.isfinite(half).all():
        raise UserError(f"expected a score of every test item of {language}, got one that is no number; predict again")
    return half


def _differences(pair: Pair, centre: FloatArray, half: FloatArray, signs: FloatArray) -> FloatArray:
    """Return [R] differences, mean over seeds, for signs [R, N]: 1 leaves an example, -1 swaps it.

    Single precision is exact for labels: their sums are multiples of a half far below 2^23.
    """
    seeds, number, width = half.shape
    moved = signs @ half.transpose(1, 0, 2).reshape(number, seeds * width)
    moved = moved.astype(np.float64).reshape(-1, seeds, width)
    return (pair.score(centre + moved) - pair.score(centre - moved)).mean(1)


def _exact(pair: Pair, centre: FloatArray, half: FloatArray, most: int) -> float | None:
    """Return the p of all swaps of examples at which the methods differ; None where these are more than `most`."""
    differ = half.any((0, 2))
    number = int(differ.sum())
    if 2**number > most:
        return None
    signs = 1 - 2 * ((np.arange(2**number)[:, None] >> np.arange(number)) & 1)
    every = _differences(pair, centre, half[:, differ], signs.astype(half.dtype))
    return float(_extreme(every[0], every).mean())


def _extreme(observed: float, swapped: FloatArray) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return np.abs(swapped) >= abs(observed) - _TIE
