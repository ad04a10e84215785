"""What a model says about examples, as it is scored, averaged, stacked and kept."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from crossflare.errors import UserError
from crossflare.evaluation.metrics import FloatArray, IntArray
from crossflare.training.forms.protocol import Choices, Said


@dataclass(frozen=True, slots=True)
class ChoiceOutputs:
    """Labels chosen for N examples."""

    log_probabilities: FloatArray
    """[N, K]."""
    source: FloatArray | None
    """[N, K] the base model's own for the source; NaN in rows without one, None when nobody has one."""
    truncated: dict[str, int]
    """Examples longer than the window, by side."""

    def take(self, which: slice) -> "ChoiceOutputs":
        """Return these rows."""
        source = None if self.source is None else self.source[which]
        return ChoiceOutputs(self.log_probabilities[which], source, self.truncated)

    @property
    def predicted(self) -> IntArray:
        """[N] indices of the most probable labels."""
        return self.log_probabilities.argmax(1)


@dataclass(frozen=True, slots=True)
class AnswerOutputs:
    """Answers to N questions."""

    texts: tuple[str, ...]
    scores: tuple[float, ...]
    """How sure the model was of each."""
    positions: tuple[NDArray[np.int64], NDArray[np.int64]] | None
    """See `training.forms.Answers`."""
    truncated: dict[str, int]

    def take(self, which: slice) -> "AnswerOutputs":
        """Return these rows."""
        positions = None if self.positions is None else (self.positions[0][which], self.positions[1][which])
        return AnswerOutputs(self.texts[which], self.scores[which], positions, self.truncated)


Outputs = ChoiceOutputs | AnswerOutputs


def outputs_of(said: Said, truncated: dict[str, int]) -> Outputs:
    """Return what a model said in the form that is kept.

    Raises:
        UserError: Its logits are not finite.
    """
    if not isinstance(said, Choices):
        return AnswerOutputs(said.texts, said.scores, said.positions, truncated)
    wrong = (~said.fused.isfinite().all(-1)).nonzero().flatten().tolist()
    if wrong:
        row = wrong[0] + 1
        raise UserError(f"the model's outputs are not finite, first in row {row}; lower lr or use fp32", "numbers")
    source = _log_softmax(said.source) if said.source.isfinite().any() else None
    return ChoiceOutputs(_log_softmax(said.fused), source, truncated)


def average(*parts: FloatArray) -> FloatArray:
    """Return the normalised mean [N, K] of log-probabilities; a row that is NaN in one part takes the others."""
    mean = np.nanmean(np.stack(parts), axis=0)
    return mean - np.logaddexp.reduce(mean, axis=1, keepdims=True)


def _log_softmax(values: Tensor) -> FloatArray:
    return values.double().log_softmax(-1).numpy()


def stack(fitted_on: Sequence[FloatArray], gold: Sequence[int], read: Sequence[FloatArray]) -> FloatArray:
    """Fit a logistic regression on what M methods say of dev rows, and return what it says of other rows [N,K].

    Its features are the methods' log-probabilities side by side; scikit-learn's defaults (L2, C = 1) keep it tame on
    the hundred rows that a dev part has.

    Args:
        fitted_on: M log-probabilities [D,K] of dev rows.
        gold: D label indices.
        read: M log-probabilities [N,K] of the rows to label.

    Raises:
        UserError: A label has no dev row, so that nothing can be learnt of it.
    """
    from sklearn.linear_model import LogisticRegression

    labels = fitted_on[0].shape[1]
    absent = sorted(set(range(labels)) - set(gold))
    if absent:
        raise UserError(
            f"stack: no dev row has label {absent[0]}, so nothing can be fitted for it; give more dev rows, or use "
            "ensemble"
        )
    fitted = LogisticRegression(max_iter=10_000).fit(np.concatenate(fitted_on, axis=1), np.asarray(gold))
    return fitted.predict_log_proba(np.concatenate(read, axis=1))
