"""Intervals and paired differences by the bootstrap, over test examples and over training seeds.

Shapes: N examples, S seeds, K labels, C columns of predictions, R resamples.

Two sources of chance are resampled: which examples are in the test set, and which seeds are used. A resample of the
examples depends only on their ids and `random_seed`, so that every method, every seed and, in a parallel set, every
language gets the same resample: differences are paired, and averages over languages keep their correlation.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from crossflare.disk.files import content_id
from crossflare.errors import UserError
from crossflare.evaluation.metrics import FloatArray, IntArray, Labels, Metric, metrics_over, statistics, weigh

RESAMPLES = 10_000
TAILS = ((1 - 0.95) / 2, (1 + 0.95) / 2)
"""The quantiles that bound an interval of 95 %."""
_CHUNK = 4_000_000
"""Most weights held at once (R_chunk * N): 50 MB with the draws they are made from."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The scores of one method on one set of examples, observed and resampled."""

    items: str
    """Content id of the examples' ids and gold labels or answers: only samples over equal items can be paired."""
    seeds: tuple[int, ...]
    observed: FloatArray
    """[S] score of each training seed on the observed examples."""
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
    """A difference of two means with its interval; `score` is the first method minus the second."""

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
    labels: Labels = "met",
    metrics: Mapping[str, Metric] | None = None,
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
        labels: The labels that macro-F1 averages over.
        metrics: The metrics to measure; None: every one of `METRICS`.
        resamples: R.
        random_seed: Chooses the resamples.

    Raises:
        UserError: Ids or seeds repeat, or the labels do not match.
    """
    rows = statistics(gold, predicted, classes)
    _check(ids, seeds, len(rows), np.atleast_2d(predicted).shape[0])
    measured = metrics_over(labels) if metrics is None else metrics

    def score(weights: IntArray) -> dict[str, FloatArray]:
        counts = weigh(rows, weights, classes)
        return {name: metric(counts) for name, metric in measured.items()}

    return resampled(ids, np.asarray(gold).tolist(), seeds, score, resamples, random_seed)


def sample_values(
    ids: Sequence[str],
    golds: Sequence[Sequence[str]],
    values: Mapping[str, ArrayLike],
    seeds: Sequence[int],
    *,
    resamples: int = RESAMPLES,
    random_seed: int = 0,
) -> dict[str, Sample]:
    """Resample the examples and return the sample of every metric that is a mean of scores of examples.

    The resamples are those of `sample`: they follow from the ids and `random_seed` alone.

    Args:
        ids: N ids, unique; two languages with the same ids in the same order count as parallel.
        golds: The gold answers of each of the N examples.
        values: Metric -> scores [S, N], a row for each of `seeds`.
        seeds: S training seeds, unique.
        resamples: R.
        random_seed: Chooses the resamples.

    Raises:
        UserError: Ids or seeds repeat, there is no example, a score is not a number, or the shapes do not match.
    """
    columns = {name: np.atleast_2d(np.asarray(each, dtype=np.float64)) for name, each in values.items()}
    if not ids:
        raise UserError("expected at least one example to score, got none; check the test part of the data")
    for name, each in columns.items():
        _check(ids, seeds, each.shape[1], each.shape[0])
        if not np.isfinite(each).all():
            raise UserError(f"expected {name} of every example as a number, got one that is not; predict again")
    if len(golds) != len(ids):
        raise UserError(f"expected gold answers for each of {len(ids)} examples, got {len(golds)}")

    def score(weights: IntArray) -> dict[str, FloatArray]:
        exact = weights.astype(np.float64)
        return {name: exact @ each.T / len(ids) for name, each in columns.items()}

    return resampled(ids, [list(each) for each in golds], seeds, score, resamples, random_seed)


def macro(samples: Sequence[Sample]) -> Sample:
    """Return the mean over languages, seed by seed and resample by resample.

    Raises:
        UserError: The languages do not have the same seeds.
    """
    _same_seeds(samples)
    return Sample(
        content_id([each.items for each in samples]),
        samples[0].seeds,
        np.mean([each.observed for each in samples], axis=0),
        np.mean([each.resampled for each in samples], axis=0),
    )


def interval(scores: Sample, *, random_seed: int = 0) -> Interval:
    """Return the mean over seeds with its percentile interval over examples and seeds."""
    low, high = np.quantile(resampled_means(scores, random_seed), TAILS)
    return Interval(float(scores.observed.mean()), float(low), float(high))


def paired_difference(a: Sample, b: Sample) -> Difference:
    """Return a - b with its interval and two-sided p; examples and seeds are resampled alike for both.

    Raises:
        UserError: The two have other examples, or other seeds.
    """
    if a.items != b.items or a.resampled.shape[0] != b.resampled.shape[0]:
        raise UserError(
            "expected two methods measured on the same examples, got different ones; predict again with one set"
        )
    _same_seeds([a, b])
    difference = Sample(a.items, a.seeds, a.observed - b.observed, a.resampled - b.resampled)
    means = resampled_means(difference)
    low, high = np.quantile(means, TAILS)
    tail = min(int((means <= 0).sum()), int((means >= 0).sum()))
    p = min(1.0, 2 * (tail + 1) / (len(means) + 1))
    return Difference(float(difference.observed.mean()), float(low), float(high), p)


def resampled_means(scores: Sample, random_seed: int = 0) -> FloatArray:
    """Return [R] means over resampled seeds; the same seeds are drawn for every sample with as many of them.

    With S seeds the resampled mean varies (S - 1) / S as much as the mean itself does, a third too little for three
    seeds. The seeds' deviations are multiplied by the root of S / (S - 1) to correct this (Rao and Wu, 1988).
    """
    resamples, count = scores.resampled.shape
    if count == 1:
        return scores.resampled[:, 0]
    centre = scores.resampled.mean(1)
    share = (
        random_stream(random_seed, ["seeds", count]).multinomial(count, np.full(count, 1 / count), size=resamples)
        / count
    )
    return centre + np.sqrt(count / (count - 1)) * ((share * scores.resampled).sum(1) - centre)


def resampled(
    ids: Sequence[str],
    gold: list[Any],
    seeds: Sequence[int],
    score: Callable[[IntArray], dict[str, FloatArray]],
    resamples: int,
    random_seed: int,
) -> dict[str, Sample]:
    """Return the samples of `score`, which turns weights [R_chunk, N] of the examples into scores [R_chunk, S]."""
    observed = score(np.ones((1, len(ids)), dtype=np.int64))
    chunks = [score(weights) for weights in _weights(len(ids), resamples, random_stream(random_seed, list(ids)))]
    items = content_id([list(ids), gold])
    return {
        name: Sample(items, tuple(seeds), once[0], np.concatenate([drawn[name] for drawn in chunks]))
        for name, once in observed.items()
    }


def _check(ids: Sequence[str], seeds: Sequence[int], examples: int, columns: int) -> None:
    for name, values in (("example ids", ids), ("seeds", seeds)):
        if len(set(values)) < len(values):
            raise UserError(f"expected {name} without repetition, got one twice; check the predictions")
    if len(ids) != examples or len(seeds) != columns:
        raise UserError(f"expected an id per example and a row per seed, got {len(ids)} ids and {len(seeds)} seeds")


def _weights(number: int, resamples: int, generator: np.random.Generator) -> Iterator[IntArray]:
    """Yield how often each of N examples is in a draw of N with replacement: [R_chunk, N], R draws in all."""
    for start in range(0, resamples, max(1, _CHUNK // number)):
        size = min(max(1, _CHUNK // number), resamples - start)
        draws = generator.integers(number, size=(size, number)) + np.arange(size)[:, None] * number
        yield np.bincount(draws.ravel(), minlength=size * number).reshape(size, number)


def random_stream(random_seed: int, stream: list[str] | list[str | int]) -> np.random.Generator:
    """Return a generator that depends on the seed and on the name of its use."""
    return np.random.default_rng([random_seed, int(content_id(stream), 16)])


def _same_seeds(samples: Sequence[Sample]) -> None:
    for each in samples[1:]:
        if each.seeds != samples[0].seeds:
            seeds = f"{list(samples[0].seeds)} and {list(each.seeds)}"
            raise UserError(f"expected the same seeds everywhere, got {seeds}; run what is missing")


Name = TypeVar("Name")


def average_ranks(samples: Mapping[Name, Sequence[Sample]]) -> dict[Name, Interval]:
    """Rank methods in every language (1 is the best, ties are shared), and return each one's mean rank over languages.

    The interval is over the ranks in each resample of examples and seeds. Resampling can only mix ranks: the best of
    many close methods has an interval that reaches up to its rank, and seldom below.

    Args:
        samples: Method -> its samples, the same languages in the same order.

    Raises:
        UserError: Two methods have other languages, other examples or other seeds.
    """
    from scipy.stats import rankdata

    first = next(iter(samples.values()))
    for each in samples.values():
        if [(one.items, one.seeds) for one in each] != [(one.items, one.seeds) for one in first]:
            raise UserError("expected all methods on the same examples with the same seeds to rank them; run the rest")
    observed = [[one.observed.mean() for one in each] for each in samples.values()]
    resampled = [[resampled_means(one) for one in each] for each in samples.values()]
    # means that differ only by rounding are ties
    ranks = rankdata(-np.round(observed, 9), axis=0).mean(1)
    drawn = rankdata(-np.round(resampled, 9), axis=0).mean(1)
    low, high = np.quantile(drawn, TAILS, axis=1)
    return {
        name: Interval(float(rank), float(a), float(b))
        for name, rank, a, b in zip(samples, ranks, low, high, strict=True)
    }
