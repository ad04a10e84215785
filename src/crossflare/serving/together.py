"""Batches that mix the rows of adapters on one model: all sources of a batch are read in one pass."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crossflare.serving.adapter import Prepared, TrainedAdapter
from crossflare.training.forms.protocol import Choices, choices
from crossflare.training.loop.batching import batches, in_order
from crossflare.training.loop.memory import resolve
from crossflare.training.text.collators import PairCollator


class _Together(list[Any]):
    """The tokenised rows of several adapters."""

    @property
    def names(self) -> list[str]:
        """A name for each row."""
        return [str(place) for place in range(len(self))]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The number of tokens of each row, target and source together."""
        sides = ((row.target, row.source) for row in self)
        return np.array([sum(len(side.ids) for side in both if side is not None) for both in sides], dtype=np.int64)


def choices_together(
    members: Mapping[str, TrainedAdapter], rows: Mapping[str, Prepared], in_peft: Mapping[str, str], batch_size: int
) -> dict[str, Choices]:
    """Return what each adapter chooses for its rows; rows of similar length share a batch, whatever their adapter.

    Args:
        members: Name -> adapter, all on one model.
        rows: Name -> rows of that adapter, at least one in all.
        in_peft: Name -> the adapter's name in peft.
        batch_size: Rows in one forward pass.
    """
    names = [in_peft[name] for name, part in rows.items() for _ in part.examples]
    first = members[next(iter(rows))]
    encoded = _Together([row for part in rows.values() for row in part.tokens])
    longest = max(members[name].reading.max_length for name in rows)
    collate = PairCollator(first.tokenizer, longest, with_source=True)
    number = resolve(first.reading.precision, next(first.model.parameters()).device)
    parts: list[tuple[list[int], Tensor]] = []
    for places, batch in batches(first.model, encoded, collate, batch_size, number, "predicting"):
        output = first.model(**batch, adapter_names=[names[place] for place in places])
        parts.append((places, output.logits.float().cpu()))
    widest = max(part.shape[1] for _, part in parts)
    logits = in_order([(places, _widened(part, widest)) for places, part in parts])
    found: dict[str, Choices] = {}
    begin = 0
    for name, part in rows.items():
        own = logits[begin : begin + len(part.examples), : len(members[name].task.labels)]
        found[name] = choices(own, torch.full_like(own, torch.nan))
        begin += len(part.examples)
    return found


def _widened(logits: Tensor, width: int) -> Tensor:
    """Return logits [B,K] as [B,width]."""
    return torch.nn.functional.pad(logits, (0, width - logits.shape[1]), value=float("-inf"))
