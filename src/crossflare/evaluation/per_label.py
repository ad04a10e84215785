"""The predictions for each label: precision, recall and F1 with intervals, and which label was taken for which.

Shapes: N examples, S seeds, K labels, R resamples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crossflare.evaluation.metrics import NO_LABEL, FloatArray, LabelCounts, Metric, check_labels
from crossflare.evaluation.significance import RESAMPLES, TAILS, Interval, Sample, resampled_means, sample


@dataclass(frozen=True, slots=True)
class LabelScore:
    """The scores of one label, each the mean over the seeds in which it is defined; None where no seed defines it."""

    label: int
    support: int
    """How many examples have it."""
    precision: Interval | None
    """The share of the examples predicted to have this label that have it."""
    recall: Interval | None
    """The share of the examples with this label that were predicted to have it."""
    f1: Interval | None


def label_scores(
    ids: Sequence[str],
    gold: ArrayLike,
    predicted: ArrayLike,
    classes: int,
    seeds: Sequence[int],
    *,
    resamples: int = RESAMPLES,
) -> list[LabelScore]:
    """Return the scores of each of K labels, from the same resamples as all other scores.

    A resample without the label has no such score, and is left out of that score's interval.

    Args:
        ids: N ids, unique.
        gold: [N] label indices.
        predicted: [S, N] label indices, or `NO_LABEL`.
        classes: K.
        seeds: S training seeds, unique.
        resamples: R.

    Raises:
        UserError: Ids or seeds repeat, or the labels do not match.
    """
    measures: dict[str, Metric] = {
        f"{name} {label}": partial(measure, label=label) for name, measure in _OF.items() for label in range(classes)
    }
    drawn = sample(ids, gold, predicted, classes, seeds, metrics=measures, resamples=resamples)
    support = np.bincount(np.asarray(gold), minlength=classes)
    return [
        LabelScore(label, int(support[label]), *(_interval(drawn[f"{name} {label}"]) for name in _OF))
        for label in range(classes)
    ]


def confusion(gold: ArrayLike, predicted: ArrayLike, classes: int) -> FloatArray:
    """Return how many examples of each label (rows, K) got which (columns, K + 1, the last is none): mean over S seeds.

    Args:
        gold: [N] label indices.
        predicted: [S, N] label indices, or `NO_LABEL`.
        classes: K.
    """
    truth, said = check_labels(gold, predicted, classes)
    counts = np.zeros((classes, classes + 1), dtype=np.int64)
    columns = np.where(said == NO_LABEL, classes, said)
    np.add.at(counts, (np.broadcast_to(truth, said.shape), columns), 1)
    return counts / len(said)


def _share(part: FloatArray, whole: FloatArray) -> FloatArray:
    return np.divide(part, whole, out=np.full_like(whole, np.nan, dtype=np.float64), where=whole > 0)


def _precision(counts: LabelCounts, label: int) -> FloatArray:
    return _share(counts.hits[..., label], counts.predicted[..., label])


def _recall(counts: LabelCounts, label: int) -> FloatArray:
    return _share(counts.hits[..., label], counts.gold[..., label])


def _f1(counts: LabelCounts, label: int) -> FloatArray:
    return _share(2 * counts.hits[..., label], counts.gold[..., label] + counts.predicted[..., label])


_OF = {"precision": _precision, "recall": _recall, "f1": _f1}


def _interval(scores: Sample) -> Interval | None:
    there: NDArray[np.bool_] = np.isfinite(scores.observed)
    if not there.any():
        return None
    known = scores.pick([seed for seed, each in zip(scores.seeds, there, strict=True) if each])
    means = resampled_means(known)
    low, high = np.quantile(means[np.isfinite(means)], TAILS)
    return Interval(float(known.observed.mean()), float(low), float(high))
