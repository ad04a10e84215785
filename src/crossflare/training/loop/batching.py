"""The order of the examples: random, but a batch has texts of similar length, so that there is little padding."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crossflare.errors import UserError
from crossflare.progress import bar
from crossflare.training.loop.balance import draw_balanced
from crossflare.training.loop.memory import Number, autocast
from crossflare.training.loop.settings import Settings
from crossflare.training.loop.state import Batch, Rows

Row = TypeVar("Row")
MEGA = 50
"""The most batches among which examples are sorted by length; a larger number pads less and mixes less."""


def check_groups(rows: int, batch_size: int, group: int, processes: int = 1) -> None:
    """Refuse batches and rows that do not divide into whole items, or batches with fewer items than processes.

    Raises:
        UserError: `batch_size` or the number of `rows` is not a multiple of `group`, or a process would have no item.
    """
    if batch_size % group:
        near = sorted({max(1, batch_size // group) * group, -(-batch_size // group) * group})
        raise UserError(
            f"batch_size: expected a multiple of {group}, since each training item is {group} rows that stay together, "
            f"got {batch_size}; take {' or '.join(map(str, near))}"
        )
    if batch_size // group < processes:
        raise UserError(
            f"batch_size: expected {group * processes} or more, at least one item for each of {processes} processes, "
            f"got {batch_size}; raise it or start fewer processes"
        )
    if rows % group:
        raise UserError(f"expected training items of {group} rows each, got {rows} rows; give each item all its rows")


def grouped_order(lengths: NDArray[np.int64], batch_size: int, seed: int, epoch: int, group: int = 1) -> list[int]:
    """Return every index once, such that each batch of `batch_size` consecutive indices has texts of similar length.

    The order depends on the arguments alone. If the last batch is shorter, it is a random choice. In epoch 0 the
    widest batch comes first, so that too little memory shows at once.

    Args:
        lengths: The number of tokens of each row [N], target and source together.
        batch_size: The number of examples in a batch.
        seed: The seed of the run.
        epoch: The epoch, from 0.
        group: The number of consecutive rows that are one item (the same in several languages). They stay together in
            a batch, in their order; an item is as long as its longest row. See `check_groups`.
    """
    sizes, width = lengths.reshape(-1, group).max(axis=1), batch_size // group
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(sizes))
    whole = len(order) - len(order) % width
    batches = order[:whole].reshape(-1, width)
    for begin, end in pairwise(np.linspace(0, len(batches), -(-len(batches) // MEGA) + 1).astype(int)):
        mega = batches[begin:end].ravel()
        batches[begin:end] = mega[np.argsort(sizes[mega], kind="stable")].reshape(-1, width)
    places = random.permutation(len(batches))
    if epoch == 0 and len(batches):
        widest = int(sizes[batches].max(axis=1).argmax())
        places = np.concatenate([[widest], places[places != widest]])
    items = np.concatenate([batches[places].ravel(), order[whole:]])
    return (items[:, None] * group + np.arange(group)).ravel().tolist()


def rows_of_process(rows: Sequence[Row], rank: int, size: int, group: int = 1) -> Sequence[Row]:
    """Return the consecutive rows of a batch that process `rank` of `size` computes: whole items, split evenly."""
    items = len(rows) // group
    return rows[items * rank // size * group : items * (rank + 1) // size * group]


def step_rows(
    lengths: NDArray[np.int64],
    settings: Settings,
    group: int,
    first: int,
    steps: int,
    labels: NDArray[np.int64] | None = None,
) -> Iterator[list[int]]:
    """Yield the rows of each remaining optimizer step, in `grouped_order`, epoch after epoch.

    The last step of an epoch may have fewer rows than `batch_size * accumulation`.

    Args:
        lengths: The number of tokens of each row [N], target and source together.
        settings: The settings of the run.
        group: See `grouped_order`.
        first: The number of steps made before.
        steps: The number of steps of the whole run.
        labels: The labels [N], which then are all equally frequent in an epoch; an item has the label of its first
            row. None: every row comes once.
    """
    width = settings.batch_size * settings.accumulation
    per_epoch = settings.steps(len(lengths), epochs=1)
    order: list[int] = []
    for step in range(first, steps):
        epoch, place = divmod(step, per_epoch)
        if place == 0 or not order:
            order = _epoch_order(lengths, settings, group, epoch, labels)
        yield order[place * width : place * width + width]


def _epoch_order(
    lengths: NDArray[np.int64], settings: Settings, group: int, epoch: int, labels: NDArray[np.int64] | None
) -> list[int]:
    if labels is None:
        return grouped_order(lengths, settings.batch_size, settings.seed, epoch, group)
    items = draw_balanced(labels[::group], settings.seed, epoch)
    drawn = (items[:, None] * group + np.arange(group)).ravel()
    return drawn[grouped_order(lengths[drawn], settings.batch_size, settings.seed, epoch, group)].tolist()


def batches(
    model: Any,
    rows: Rows,
    collate: Callable[[Sequence[Any]], Batch],
    batch_size: int,
    precision: Number,
    description: str = "scoring",
) -> Iterator[tuple[list[int], Batch]]:
    """Yield batches on the model's device, each with the indices of its rows, until all rows are done.

    Rows of similar length share a batch, the longest first: there is less padding, and memory runs out at once or not
    at all. No random number is drawn. The model is in evaluation mode, without gradients, until the last batch is done.
    """
    order = np.argsort(-rows.lengths, kind="stable").tolist()
    mode, device = model.training, next(model.parameters()).device
    model.eval()
    try:
        with torch.inference_mode(), autocast(precision, device), bar(description, len(rows)) as done:
            for begin in range(0, len(order), batch_size):
                places = order[begin : begin + batch_size]
                batch = collate([rows[index] for index in places])
                yield places, {name: tensor.to(device) for name, tensor in batch.items()}
                done(len(places))
    finally:
        model.train(mode)


def in_order(parts: Sequence[tuple[list[int], Tensor]]) -> Tensor:
    """Return the tensors of all batches, [N,...], in the order of the rows."""
    places = [place for some, _ in parts for place in some]
    return torch.cat([part for _, part in parts])[np.argsort(places, kind="stable")]
