"""A model over examples: log-probabilities for every row, in the rows' order."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from torch import Tensor

from crossflare.evaluation.metrics import FloatArray, IntArray
from crossflare.tasks.example import Example
from crossflare.training.collators import PairCollator, count_truncated, encode
from crossflare.training.inference import logits
from crossflare.training.precision import resolve
from crossflare.training.settings import Precision


@dataclass(frozen=True, slots=True)
class Outputs:
    """What a model says about N examples."""

    log_probabilities: FloatArray
    """[N, K]."""
    source: FloatArray | None
    """[N, K] the base model's own for the source; NaN in rows without one, None when nobody has one."""
    truncated: dict[str, int]
    """Examples longer than the window, by side."""

    @property
    def predicted(self) -> IntArray:
        """[N] indices of the most probable labels."""
        return self.log_probabilities.argmax(1)


def predict(
    model: Any,
    tokenizer: Any,
    examples: Sequence[Example],
    *,
    read: Literal["target", "source", "both", "latents"],
    max_length: int,
    latents: Sequence[Tensor] | None = None,
    batch_size: int = 64,
    precision: Precision = "auto",
) -> Outputs:
    """Run a classifier over examples.

    Args:
        model: A sequence classifier, with or without adapters.
        tokenizer: Its tokenizer.
        examples: N rows; labels are not looked at.
        read: `target`: the texts; `source`: the sources in their place (translate-test); `both`: a FLARE model reads
            the texts with their sources beside them; `latents`: with `latents` beside them (FLARE MT).
        max_length: Tokens of a side.
        latents: The translation encoder's states [S,d_mt] for each row.
        batch_size: Rows per forward pass.
        precision: As in training.
    """
    rows = [replace(e, label=None) for e in examples]
    if read == "source":
        # A row without a translation is read as it is: a prediction is owed for every row.
        rows = [replace(e, texts=e.source or e.texts, source=None) for e in rows]
    with_source = read == "both"
    encoded = encode(tokenizer, rows, max_length, with_source=with_source, latents=latents)
    collate = PairCollator(tokenizer, max_length, with_source=with_source)
    device = next(model.parameters()).device
    said = logits(model, encoded, collate, batch_size, resolve(precision, device), "predicting")
    return Outputs(
        _log_softmax(said.fused),
        _log_softmax(said.source) if said.source.isfinite().any() else None,
        count_truncated(tokenizer, rows, max_length),
    )


def average(*parts: FloatArray) -> FloatArray:
    """Return the normalised mean [N, K] of log-probabilities; a row that is NaN in one part takes the others."""
    mean = np.nanmean(np.stack(parts), axis=0)
    return mean - np.logaddexp.reduce(mean, axis=1, keepdims=True)


def _log_softmax(values: Tensor) -> FloatArray:
    return values.double().log_softmax(-1).numpy()
