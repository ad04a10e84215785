"""A model's outputs for many rows, in their order."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crossflare.progress import bar
from crossflare.training.collators import Encoded
from crossflare.training.precision import Number, autocast


@dataclass(frozen=True, slots=True)
class Logits:
    """What a model says of N rows, in float32 on the CPU."""

    fused: Tensor
    """[N,K]."""
    source: Tensor
    """[N,K] the base model's own for the source; NaN in rows that have none."""


def logits(
    model: Any,
    rows: Encoded,
    collate: Callable[[Sequence[Any]], dict[str, Tensor]],
    batch_size: int,
    precision: Number,
    description: str = "scoring",
) -> Logits:
    """Return the model's logits, in evaluation mode, with the mode put back after.

    Rows of like length share a batch, the longest first: less padding, and memory runs out at once or not at all. No
    random number is drawn.
    """
    order = np.argsort(-rows.lengths, kind="stable").tolist()
    parts: list[tuple[Tensor, Tensor]] = []
    mode, device = model.training, next(model.parameters()).device
    model.eval()
    try:
        with torch.inference_mode(), autocast(precision, device), bar(description, len(rows)) as done:
            for begin in range(0, len(order), batch_size):
                places = order[begin : begin + batch_size]
                batch = collate([rows[index] for index in places])
                batch.pop("labels", None)
                output = model(**{name: tensor.to(device) for name, tensor in batch.items()})
                fused = output.logits.float().cpu()
                source = getattr(output, "source_logits", None)
                parts.append((fused, torch.full_like(fused, torch.nan) if source is None else source.float().cpu()))
                done(len(places))
    finally:
        model.train(mode)
    fused, source = (torch.cat(side)[np.argsort(order, kind="stable")] for side in zip(*parts, strict=True))
    return Logits(fused, source)
