"""A model over many rows: batches of like length, in evaluation mode, and everything put back after."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crossflare.progress import bar
from crossflare.training.precision import Number, autocast
from crossflare.training.trainer import Batch, Rows


def batches(
    model: Any,
    rows: Rows,
    collate: Callable[[Sequence[Any]], Batch],
    batch_size: int,
    precision: Number,
    description: str = "scoring",
) -> Iterator[tuple[list[int], Batch]]:
    """Yield the places of some rows and their batch on the model's device, until all have been met.

    Rows of like length share a batch, the longest first: less padding, and memory runs out at once or not at all. No
    random number is drawn. The model is in evaluation mode, without gradients, until the last batch is done.
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
