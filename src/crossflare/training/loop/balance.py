"""Rare labels in training: rows are weighted by their label, or drawn so that all labels are equally frequent."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crossflare.training.loop.state import Batch

WEIGHTS = "row_weights"
"""Key of a batch: [B] how much each row counts in the loss."""
Floats = NDArray[np.float64]


def label_weights(labels: Sequence[int] | NDArray[np.int64]) -> Floats:
    """Return a weight [N] for each row: N / (K n), where n rows have its label and K labels occur; their mean is 1."""
    _, place, counts = np.unique(np.asarray(labels), return_inverse=True, return_counts=True)
    return len(place) / (len(counts) * counts[place].astype(np.float64))


def draw_balanced(labels: NDArray[np.int64], seed: int, epoch: int) -> NDArray[np.int64]:
    """Return N indices into N rows such that all labels that occur are equally frequent, up to one row each.

    The expected count of each row is its `label_weights`: a row of a frequent label is drawn once or not at all, a row
    of a rare label a fixed number of times or once more. The draw depends on the arguments alone, so a killed run can
    go on.
    """
    random = np.random.default_rng([seed, epoch, 1])  # not the stream that orders the batches
    mixed = random.permutation(len(labels))
    mixed = mixed[np.argsort(labels[mixed], kind="stable")]
    # Systematic sampling: the rows' weights end to end, and N equally spaced points over them.
    ends = np.cumsum(label_weights(labels[mixed]))
    teeth = np.arange(len(labels)) + random.random()
    return mixed[np.minimum(np.searchsorted(ends, teeth, side="right"), len(labels) - 1)]


def weighing(
    collate: Callable[[Sequence[Any]], Batch], weights: NDArray[np.floating[Any]]
) -> Callable[[Sequence[Any]], Batch]:
    """Return a collator that adds each row's weight to its batches; the weights [N] are indexed by position."""

    def weighed(rows: Sequence[Any]) -> Batch:
        own = weights[[int(row.position) for row in rows]]
        return collate(rows) | {WEIGHTS: torch.from_numpy(own.astype(np.float32))}

    return weighed


def mean_loss(losses: Tensor, weights: Tensor | None) -> Tensor:
    """Return the mean of the rows' losses [B], each multiplied by its weight [B] if there are weights."""
    return losses.mean() if weights is None else (weights * losses).mean()
