"""Intervals and paired differences by the bootstrap, over test examples and over training seeds.

Shapes: N examples, S seeds, K labels, C columns of predictions, R resamples.

Two sources of chance are resampled: which examples were in the test set, and which seeds were drawn. A resample of the
examples depends on nothing but their ids and `random_seed`, so that every method, every seed and, in a parallel set,
every language meets the same resample: differences are paired and averages over languages keep their correlation.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from crossflare.errors import UserError
from crossflare.evaluation.metrics import METRICS, FloatArray, statistics, weigh
from crossflare.files import content_id

RESAMPLES = 10_000
LEVEL = 0.95
_CHUNK = 4_000_000
"""Most weights held at once (R_chunk * N): 50 MB with the draws they are made from."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The scores of one method on one set of examples, observed and resampled."""

    items: str
    """Content id of the examples' ids and gold labels: only samples over equal items can be paired."""
    seeds: tuple[int, ...]
    observed: FloatArray
    """[S] score of each training seed on the examples as they are."""
    resampled: FloatArray
    """[R, S] score of each training seed on each resample of the examples."""

    def pick(self, seeds: Sequence[int]) -> "Sample":
        """Return the sample of these seeds only."""
        where = [self.seeds.index(seed) for seed in seeds]
        return replace(self, seeds=tuple(seeds), observed=self.observed[where], resampled=self.resampled[:, where])


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over seeds with its percentile interval."""

    score: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference(Interval):
    """A difference of two means with its interval; `score` is the first method less the second."""

    p: float
    """Two-sided bootstrap p-value of no difference: never below 2 / (R + 1)."""

    @property
    def clear(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0 or self.high < 0


def sample(
    ids: Sequence[str],
    gold: ArrayLike,
    predicted: ArrayLike,
    classes: int,
    seeds: Sequence[int],
    *,
    resamples: int = RESAMPLES,
    random_seed: int = 0,
) -> dict[str, Sample]:
    """Resample the examples and return the sample of every metric.

    Args:
        ids: N ids, unique; two languages with the same ids in the same order count as parallel.
        gold: [N] label indices.
        predicted: [S, N] label indices, a row for each of `seeds`.
        classes: K.
        seeds: S training seeds, unique.
        resamples: R.
        random_seed: Chooses the resamples.

    Raises:
        UserError: Ids or seeds repeat, or the labels do not fit together.
    """
    rows = statistics(gold, predicted, classes)
    for name, values in (("example ids", ids), ("seeds", seeds)):
        if len(set(values)) < len(values):
            raise UserError(f"expected {name} without repetition, got one twice; check the predictions")
    if len(ids) != len(rows) or len(seeds) != np.atleast_2d(predicted).shape[0]:
        raise UserError(f"expected an id per example and a row per seed, got {len(ids)} ids and {len(seeds)} seeds")
    once = weigh(rows, np.ones((1, len(rows)), dtype=np.int64), classes)
    chunks = list(_resample(rows, classes, resamples, _generator(random_seed, list(ids))))
    items = content_id([list(ids), np.asarray(gold).tolist()])
    return {
        name: Sample(items, tuple(seeds), metric(once)[0], np.concatenate([drawn[name] for drawn in chunks]))
        for name, metric in METRICS.items()
    }


def macro(samples: Sequence[Sample]) -> Sample:
    """Return the mean over languages, seed by seed and resample by resample.

    Raises:
        UserError: The languages were not run with the same seeds.
    """
    _same_seeds(samples)
    return Sample(
        content_id([each.items for each in samples]),
        samples[0].seeds,
        np.mean([each.observed for each in samples], axis=0),
        np.mean([each.resampled for each in samples], axis=0),
    )


def interval(scores: Sample, *, level: float = LEVEL, random_seed: int = 0) -> Interval:
    """Return the mean over seeds with its percentile interval over examples and seeds."""
    low, high = np.quantile(_means(scores, random_seed), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(scores.observed.mean()), float(low), float(high))


def paired_difference(a: Sample, b: Sample, *, level: float = LEVEL, random_seed: int = 0) -> Difference:
    """Return a - b with its interval and two-sided p, resampling examples and seeds alike for both.

    Raises:
        UserError: The two were measured on other examples, or with other seeds.
    """
    if a.items != b.items or a.resampled.shape[0] != b.resampled.shape[0]:
        raise UserError(
            "expected two methods measured on the same examples, got different ones; predict again with one set"
        )
    _same_seeds([a, b])
    difference = Sample(a.items, a.seeds, a.observed - b.observed, a.resampled - b.resampled)
    means = _means(difference, random_seed)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    tail = min(int((means <= 0).sum()), int((means >= 0).sum()))
    p = min(1.0, 2 * (tail + 1) / (len(means) + 1))
    return Difference(float(difference.observed.mean()), float(low), float(high), p)


def mcnemar(gold: ArrayLike, a: ArrayLike, b: ArrayLike) -> float:
    """Return the exact two-sided p of McNemar's test that two methods [N] err equally often on labels [N]."""
    from scipy.stats import binomtest

    right_a, right_b = np.asarray(a) == np.asarray(gold), np.asarray(b) == np.asarray(gold)
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    return float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def _means(scores: Sample, random_seed: int) -> FloatArray:
    """Return [R] means over resampled seeds.

    With S seeds the resampled mean varies (S - 1) / S as much as the mean itself does, a third too little for three
    seeds. The seeds' deviations are widened by the root of S / (S - 1) to make up for it (Rao and Wu, 1988).
    """
    resamples, count = scores.resampled.shape
    if count == 1:
        return scores.resampled[:, 0]
    centre = scores.resampled.mean(1)
    share = (
        _generator(random_seed, ["seeds", count]).multinomial(count, np.full(count, 1 / count), size=resamples) / count
    )
    return centre + np.sqrt(count / (count - 1)) * ((share * scores.resampled).sum(1) - centre)


def _resample(
    rows: FloatArray, classes: int, resamples: int, generator: np.random.Generator
) -> Iterator[dict[str, FloatArray]]:
    """Yield every metric over [R_chunk, C] of draws of N rows with replacement, R draws in all."""
    number = len(rows)
    for start in range(0, resamples, max(1, _CHUNK // number)):
        size = min(max(1, _CHUNK // number), resamples - start)
        draws = generator.integers(number, size=(size, number)) + np.arange(size)[:, None] * number
        weights = np.bincount(draws.ravel(), minlength=size * number).reshape(size, number)
        counts = weigh(rows, weights, classes)
        yield {name: metric(counts) for name, metric in METRICS.items()}


def _generator(random_seed: int, stream: list[str] | list[str | int]) -> np.random.Generator:
    """Return a generator that depends on the seed and on what it is for."""
    return np.random.default_rng([random_seed, int(content_id(stream), 16)])


def _same_seeds(samples: Sequence[Sample]) -> None:
    for each in samples[1:]:
        if each.seeds != samples[0].seeds:
            seeds = f"{list(samples[0].seeds)} and {list(each.seeds)}"
            raise UserError(f"expected the same seeds everywhere, got {seeds}; run what is missing")
