"""A model over examples: log-probabilities for every row, in the rows' order."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch

from crossflare.evaluation.metrics import FloatArray, IntArray
from crossflare.progress import bar
from crossflare.tasks.example import Example
from crossflare.training.collators import PairCollator, count_truncated, encode
from crossflare.training.precision import autocast, resolve
from crossflare.training.settings import Precision


@dataclass(frozen=True, slots=True)
class Outputs:
    """What a model says about N examples."""

    log_probabilities: FloatArray
    """[N, K]."""
    source: FloatArray | None
    """[N, K] the base model's own log-probabilities for the source; NaN in rows without one, None when nobody has one."""
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
    read: Literal["target", "source", "both"],
    max_length: int,
    batch_size: int = 64,
    precision: Precision = "auto",
    description: str = "predicting",
) -> Outputs:
    """Run a classifier over examples, the longest first.

    Args:
        model: A sequence classifier, with or without adapters.
        tokenizer: Its tokenizer.
        examples: N rows; labels are not looked at.
        read: `target`: the texts; `source`: the sources in their place (translate-test); `both`: a FLARE model reads
            the texts with their sources beside them.
        max_length: Tokens of a side.
        batch_size: Rows per forward pass.
        precision: As in training.
        description: What the progress bar says.
    """
    rows = [replace(e, label=None) for e in examples]
    if read == "source":
        # A row without a translation is read as it is: a prediction is owed for every row.
        rows = [replace(e, texts=e.source or e.texts, source=None) for e in rows]
    with_source = read == "both"
    encoded = encode(tokenizer, rows, max_length, with_source=with_source)
    collate = PairCollator(tokenizer, max_length, with_source=with_source)
    device = next(model.parameters()).device
    fused: list[torch.Tensor] = []
    beside: list[torch.Tensor] = []
    order = np.argsort(-encoded.lengths, kind="stable")
    model.eval()
    with torch.inference_mode(), autocast(resolve(precision, device), device), bar(description, len(rows)) as done:
        for start in range(0, len(order), batch_size):
            places = order[start : start + batch_size]
            batch = {k: v.to(device) for k, v in collate([encoded[int(i)] for i in places]).items()}
            output = model(**batch)
            fused.append(output.logits.float())
            beside.append(_source_logits(output, len(places)))
            done(len(places))
    back = np.argsort(order, kind="stable")
    source = torch.cat(beside)
    return Outputs(
        _log_softmax(torch.cat(fused))[back],
        _log_softmax(source)[back] if source.isfinite().any() else None,
        count_truncated(tokenizer, rows, max_length),
    )


def average(*parts: FloatArray) -> FloatArray:
    """Return the normalised mean [N, K] of log-probabilities; a row that is NaN in one part takes the others."""
    mean = np.nanmean(np.stack(parts), axis=0)
    return mean - np.logaddexp.reduce(mean, axis=1, keepdims=True)


def _source_logits(output: Any, rows: int) -> torch.Tensor:
    logits = getattr(output, "source_logits", None)
    if logits is None:
        return torch.full((rows, output.logits.shape[-1]), float("nan"), device=output.logits.device)
    return logits.float()


def _log_softmax(logits: torch.Tensor) -> FloatArray:
    return logits.double().log_softmax(-1).cpu().numpy()
