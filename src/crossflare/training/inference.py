"""A model's outputs for many rows, in their order."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crossflare.training.collators import Encoded
from crossflare.training.precision import Number, autocast


def logits(
    model: Any,
    rows: Encoded,
    collate: Callable[[Sequence[Any]], dict[str, Tensor]],
    batch_size: int,
    precision: Number,
) -> Tensor:
    """Return the model's logits [N,K] in float32, in evaluation mode, with the mode put back after.

    Rows of like length share a batch, which saves padding; no random number is drawn.
    """
    order = np.argsort(rows.lengths, kind="stable").tolist()
    parts: list[Tensor] = []
    mode, device = model.training, next(model.parameters()).device
    model.eval()
    try:
        with torch.inference_mode(), autocast(precision, device):
            for begin in range(0, len(order), batch_size):
                batch = collate([rows[index] for index in order[begin : begin + batch_size]])
                batch.pop("labels", None)
                parts.append(model(**{name: tensor.to(device) for name, tensor in batch.items()}).logits.float().cpu())
    finally:
        model.train(mode)
    if not parts:
        return torch.empty(0, 0)
    joined = torch.cat(parts)
    back = torch.empty_like(joined)
    back[order] = joined
    return back
