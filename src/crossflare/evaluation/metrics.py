"""Scores from labels through counts, so that ten thousand resamples cost one matrix product.

Shapes: N examples, K labels, C columns of predictions (one per method and seed); `...` any leading axes. A metric is a
function of `LabelCounts` alone: resampling the examples means weighting the counts, without scoring again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crossflare.errors import UserError, choose

IntArray = NDArray[np.integer[Any]]
FloatArray = NDArray[np.floating[Any]]

NO_LABEL = -1
"""A prediction that names none of the labels: always wrong, and counted for no label."""


@dataclass(frozen=True, slots=True)
class LabelCounts:
    """The statistics behind every metric here: how often each label occurs, is predicted, and is predicted rightly."""

    gold: FloatArray
    """[..., K] examples that have the label."""
    predicted: FloatArray
    """[..., K] examples that were predicted to have the label."""
    hits: FloatArray
    """[..., K] examples that have the label and were predicted to have it."""


Metric = Callable[[LabelCounts], FloatArray]
"""Counts over [..., K] to scores [...], each between 0 and 1."""


def accuracy(counts: LabelCounts) -> FloatArray:
    """Return the share of examples whose prediction is their own label."""
    return counts.hits.sum(-1) / counts.gold.sum(-1)


def macro_f1(counts: LabelCounts) -> FloatArray:
    """Return the mean of F1 = 2 hits / (gold + predicted) over the labels that occur or were predicted.

    scikit-learn's `f1_score(average="macro")` computes the same, and so do most published numbers. A label that neither
    occurs nor is predicted has no F1: if it counted as 0, right predictions in a language with 4 of 7 labels would
    score 57, and resamples that happen to lose a rare label would pull every interval down. Resamples leave it out,
    too.
    """
    each, met = _f1(counts)
    return each.sum(-1) / met.sum(-1)


def macro_f1_of_all(counts: LabelCounts) -> FloatArray:
    """Return the mean over all K labels; a label that neither occurs nor is predicted counts as 0: the older rule."""
    return _f1(counts)[0].mean(-1)


def weighted_f1(counts: LabelCounts) -> FloatArray:
    """Return the mean of the labels' F1, each weighted by the examples that have the label.

    scikit-learn's `f1_score(average="weighted")` computes the same. A label that no example has weighs nothing: it is
    left out of a set, and of a resample, as in macro-F1; a row that is wrongly predicted to have it lowers the others'
    F1.
    """
    return (counts.gold * _f1(counts)[0]).sum(-1) / counts.gold.sum(-1)


def _f1(counts: LabelCounts) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Return the F1 of each label [..., K], 0 where it is not defined, and where it is defined."""
    met = counts.gold + counts.predicted
    return np.divide(2 * counts.hits, met, out=np.zeros_like(met), where=met > 0), met > 0


METRICS: dict[str, Metric] = {"accuracy": accuracy, "macro_f1": macro_f1, "weighted_f1": weighted_f1}
Labels = Literal["met", "all"]
"""The labels that macro-F1 averages over; a signature names them."""


def metrics_over(labels: Labels) -> dict[str, Metric]:
    """Return the metrics by name; macro-F1 is over these labels."""
    return METRICS if labels == "met" else {**METRICS, "macro_f1": macro_f1_of_all}


def check_labels(gold: ArrayLike, predicted: ArrayLike, classes: int) -> tuple[IntArray, IntArray]:
    """Return both as integer arrays [N] and [C, N] after checking them.

    Args:
        gold: [N] label indices from 0 to `classes` - 1.
        predicted: [N] or [C, N] label indices, or `NO_LABEL`.
        classes: K.

    Raises:
        UserError: The lengths differ or are zero, or an index is not that of a label.
    """
    truth, answers = np.asarray(gold), np.atleast_2d(np.asarray(predicted))
    if truth.ndim != 1 or answers.ndim != 2 or answers.shape[1] != truth.size:
        raise UserError(
            f"expected one prediction per label, got {truth.size} labels and {answers.shape[-1]} predictions"
        )
    if not truth.size:
        raise UserError("expected at least one labelled example to score, got none; check the test part of the data")
    for name, values, lowest in (("gold label", truth, 0), ("prediction", answers, NO_LABEL)):
        if not np.issubdtype(values.dtype, np.integer):
            raise UserError(f"expected each {name} as a label index, got {values.dtype}; convert the labels first")
        wrong = values[(values < lowest) | (values >= classes)]
        if wrong.size:
            raise UserError(
                f"expected each {name} from {lowest} to {classes - 1}, got {wrong.flat[0]}; check the labels"
            )
    return truth, answers


def statistics(gold: ArrayLike, predicted: ArrayLike, classes: int) -> FloatArray:
    """Return the per-example statistics [N, (1 + 2 C) K], zeros and ones: gold label, predictions, hits.

    Weighted sums of the rows are the counts of any resample: see `weigh`.
    """
    truth, answers = check_labels(gold, predicted, classes)
    labels = np.arange(classes)
    is_gold = truth[:, None] == labels
    is_predicted = answers.T[:, :, None] == labels
    parts = (is_gold, is_predicted, is_predicted & is_gold[:, None, :])
    return np.concatenate([part.reshape(truth.size, -1) for part in parts], axis=1).astype(np.float32)


def weigh(rows: FloatArray, weights: IntArray, classes: int) -> LabelCounts:
    """Return the counts over [R, C, K] of R weightings [R, N] of the rows [N, (1 + 2 C) K] of `statistics`.

    Single precision is exact here: every sum is a whole number far below 2^24.
    """
    sums = (weights.astype(np.float32) @ rows).astype(np.float64).reshape(len(weights), -1, classes)
    columns = (sums.shape[1] - 1) // 2
    gold = np.broadcast_to(sums[:, :1], (len(weights), columns, classes))
    return LabelCounts(gold, sums[:, 1 : 1 + columns], sums[:, 1 + columns :])


def score(metric: str, gold: ArrayLike, predicted: ArrayLike, classes: int, labels: Labels = "met") -> float:
    """Return one score between 0 and 1 of predictions [N] against gold labels [N]; see `Labels`.

    Raises:
        UserError: The metric is unknown, or the labels do not match.
    """
    measure = metrics_over(labels)[choose("metric", metric, METRICS)]
    rows = statistics(gold, predicted, classes)
    return float(measure(weigh(rows, np.ones((1, len(rows)), dtype=np.int64), classes)).item())
