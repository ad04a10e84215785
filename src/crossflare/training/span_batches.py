"""Batches of windows of questions, with the positions of their answers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crossflare.training.collators import PairCollator
from crossflare.training.encoded import Side
from crossflare.training.questions import WINDOW
from crossflare.training.spans import SpanRow

IGNORED = -100
"""The position of an answer in a source that is not labelled."""


class SpanCollator:
    """Pads windows as `PairCollator` does, and adds the labelled positions when every row has them.

    Args:
        tokenizer: The tokenizer of the rows.
        window: Most tokens of a window, source windows included.
        with_source: Also pad the sources.
        source_spans: And give the labelled positions in them, `IGNORED` where there are none.
    """

    def __init__(self, tokenizer: Any, window: int = WINDOW, *, with_source: bool, source_spans: bool = False) -> None:
        self._pairs = PairCollator(tokenizer, window, with_source=with_source)
        self._source_spans = source_spans
        self._left = tokenizer.padding_side == "left"

    def __call__(self, items: Sequence[SpanRow]) -> dict[str, Tensor]:
        """Return `input_ids`, `attention_mask` [B,T], both for the source, `start_positions`, `end_positions` [B]."""
        rows: Any = items
        batch = self._pairs(rows)
        if all(row.span is not None for row in items):
            batch |= self._positions("", batch, [(row.target, row.span) for row in items])
        if self._source_spans and "source_input_ids" in batch:
            batch |= self._positions("source_", batch, [(row.source, row.source_span) for row in items])
        return batch

    def _positions(
        self, prefix: str, batch: dict[str, Tensor], spans: Sequence[tuple[Side | None, tuple[int, int] | None]]
    ) -> dict[str, Tensor]:
        width = batch[f"{prefix}input_ids"].shape[1]
        shifts = [width - len(side.ids) if self._left and side is not None else 0 for side, _ in spans]
        places = torch.tensor(
            [
                (IGNORED, IGNORED) if span is None else (span[0] + shift, span[1] + shift)
                for (_, span), shift in zip(spans, shifts, strict=True)
            ]
        )
        return {f"{prefix}start_positions": places[:, 0], f"{prefix}end_positions": places[:, 1]}

    def unpad(self, items: Sequence[SpanRow], logits: Tensor, width: int) -> NDArray[np.float32]:
        """Return logits [B,T] of a batch as [B,width] with each row's own tokens first and -inf behind them."""
        whole = np.full((len(items), width), -np.inf, dtype=np.float32)
        for row, values in enumerate(logits.detach().float().cpu().numpy()):
            length = len(items[row].target.ids)
            whole[row, :length] = values[-length:] if self._left else values[:length]
        return whole
