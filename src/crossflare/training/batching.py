"""The order of the examples: random, yet with texts of like length side by side, so that little padding is computed."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

MEGA = 50
"""Batches among which examples are sorted by length, at most; more pads less and mixes less."""


def grouped_order(lengths: NDArray[np.int64], batch_size: int, seed: int, epoch: int) -> list[int]:
    """Return every index once, such that consecutive runs of `batch_size` hold texts of like length.

    The order depends on the arguments alone. The last run, where it is shorter, is a random choice. In epoch 0 the
    widest batch comes first: if memory is short, it is known at once.

    Args:
        lengths: [N] tokens of target and source together.
        batch_size: Examples of a batch.
        seed: Of the run.
        epoch: From 0.
    """
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(lengths))
    whole = len(order) - len(order) % batch_size
    batches = order[:whole].reshape(-1, batch_size)
    for begin, end in pairwise(np.linspace(0, len(batches), -(-len(batches) // MEGA) + 1).astype(int)):
        group = batches[begin:end].ravel()
        batches[begin:end] = group[np.argsort(lengths[group], kind="stable")].reshape(-1, batch_size)
    places = random.permutation(len(batches))
    if epoch == 0 and len(batches):
        widest = int(lengths[batches].max(axis=1).argmax())
        places = np.concatenate([[widest], places[places != widest]])
    return [*batches[places].ravel().tolist(), *order[whole:].tolist()]


class GroupedSampler(Sampler[int]):
    """`grouped_order` as a sampler; the loader calls `set_epoch` before each epoch."""

    def __init__(self, lengths: NDArray[np.int64], batch_size: int, seed: int) -> None:
        self.lengths, self.batch_size, self.seed, self.epoch = lengths, batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        return iter(grouped_order(self.lengths, self.batch_size, self.seed, self.epoch))

    def __len__(self) -> int:
        return len(self.lengths)
