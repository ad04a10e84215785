"""A probe: a logistic regression on sentence vectors of a base model, which stays frozen.

text -> last hidden states [T,d] -> their mean over the text's tokens -> length 1 -> regression -> K labels
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from crossflare.training.loop.batching import batches, in_order
from crossflare.training.loop.memory import Number

NEVER = -1e4
"""The bias of a label that no training row has."""
STRENGTHS = (1.0, 10.0, 100.0, 1000.0)
"""The values of scikit-learn's C that are tried, from the strongest regularisation to the weakest."""
WEIGHT, BIAS = "weight", "bias"
"""The names of the regression's tensors, [K,d] and [K]."""


class Probe(nn.Module):
    """A base model with a linear layer for K labels over its sentence vectors, in place of a head.

    Args:
        model: A transformers model, with any head or none; for an encoder-decoder, the probe uses the encoder.
        labels: K, the number of labels.
    """

    def __init__(self, model: Any, labels: int) -> None:
        super().__init__()
        base = model.base_model
        self.config = model.config
        self.reader = base.get_encoder() if model.config.is_encoder_decoder else base
        self.linear = nn.Linear(model.config.hidden_size, labels)
        self.requires_grad_(False)

    def forward(self, **batch: Tensor) -> Any:
        """Return an output whose `logits` are [B,K]."""
        vectors = self.vectors(**batch)
        with torch.autocast(vectors.device.type, enabled=False):  # large weights, close vectors: bfloat16 is too coarse
            return SimpleNamespace(logits=self.linear(vectors))

    def vectors(self, *, attention_mask: Tensor, **batch: Tensor) -> Tensor:
        """Return the sentence vectors [B,d] of a batch, in float32 and of length 1."""
        states = self.reader(attention_mask=attention_mask, **batch).last_hidden_state.float()
        mask = attention_mask[..., None].float()
        return nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)

    def put(self, tensors: dict[str, Tensor]) -> None:
        """Set the regression's tensors."""
        self.linear.load_state_dict(tensors)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each of the regression's tensors."""
        return {name: tuple(each.shape) for name, each in self.linear.named_parameters()}


def sentence_vectors(probe: Probe, rows: Any, collate: Any, batch_size: int, precision: Number) -> np.ndarray:
    """Return the vectors [N,d] of encoded rows."""
    parts: list[tuple[list[int], Tensor]] = []
    for places, batch in batches(probe, rows, collate, batch_size, precision, "reading"):
        batch.pop("labels", None)
        parts.append((places, probe.vectors(**batch).cpu()))
    return in_order(parts).double().numpy()


@dataclass(frozen=True, slots=True)
class Fitted:
    """A regression, and how it was chosen."""

    tensors: dict[str, Tensor]
    strength: float
    """The value of `STRENGTHS` with the best score on dev; the first of equals."""
    scores: dict[float, float]
    """Strength -> score on dev."""


def fit_probe(
    vectors: np.ndarray, gold: Sequence[int], labels: Sequence[str], score: Callable[[dict[str, Tensor]], float]
) -> Fitted:
    """Fit a logistic regression for each of `STRENGTHS` and return the one with the best score on the dev rows.

    Args:
        vectors: The training rows' vectors [N,d].
        gold: The training rows' labels, N indices.
        labels: The K label names.
        score: A function that returns a regression's score on dev; higher is better.

    A label without a training row is never predicted: a language may have fewer labels than the task, even one.
    """
    from sklearn.linear_model import LogisticRegression

    met = sorted(set(gold))
    made: dict[float, dict[str, Tensor]] = {}
    for strength in STRENGTHS:
        weight, bias = np.zeros((1, vectors.shape[1])), np.zeros(1)
        if len(met) > 1:
            fitted = LogisticRegression(C=strength, max_iter=10_000).fit(vectors, np.asarray(gold))
            weight, bias = fitted.coef_, fitted.intercept_
        if len(met) == 2:  # scikit-learn has one row for both: the second label's logit minus the first's
            weight, bias = (np.concatenate([np.zeros_like(each), each]) for each in (weight, bias))
        whole = {WEIGHT: torch.zeros(len(labels), vectors.shape[1]), BIAS: torch.full((len(labels),), NEVER)}
        whole[WEIGHT][met], whole[BIAS][met] = torch.from_numpy(weight).float(), torch.from_numpy(bias).float()
        made[strength] = whole
    scores = {strength: score(tensors) for strength, tensors in made.items()}
    best = max(scores, key=lambda each: scores[each])  # the first of equals
    return Fitted(made[best], best, scores)
