"""A model's outputs for examples: chosen labels or answers, as they are scored, averaged and stored; and the forms.

labels   a classification head                       any family
words    the label's word after the prompt           models that write
span     start and end of a span of the context      any family, with a question answering head
text     the answer after the prompt                 models that write
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from crossflare.errors import UserError
from crossflare.tasks.example import Example
from crossflare.training.loop.memory import Number
from crossflare.training.loop.state import Batch, Rows
from crossflare.training.text.encoded import Latents

_Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Choices:
    """A model's outputs for N examples with K labels."""

    log_probabilities: _Floats
    """The log-probabilities [N,K]; [N,0] where only labels are known."""
    source: _Floats | None
    """The base model's own log-probabilities for the source [N,K]; NaN in rows without one, None if no row has one."""
    truncated: dict[str, int] = field(default_factory=dict[str, int])
    """The number of examples longer than the window, by side."""
    windows: NDArray[np.int64] | None = None
    """The number of windows of each row [N]; None: texts longer than the window are cut."""
    labels: NDArray[np.int64] | None = None
    """The chosen labels [N], -1 for none; None: the most probable ones."""

    def take(self, which: slice) -> "Choices":
        """Return the rows of a slice."""
        source = None if self.source is None else self.source[which]
        windows = None if self.windows is None else self.windows[which]
        labels = None if self.labels is None else self.labels[which]
        return Choices(self.log_probabilities[which], source, self.truncated, windows, labels)

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The indices of the chosen labels [N]."""
        return self.log_probabilities.argmax(1) if self.labels is None else self.labels


@dataclass(frozen=True, slots=True)
class Answers:
    """A model's answers to N questions."""

    texts: tuple[str, ...]
    scores: tuple[float, ...]
    """The confidence of each answer, higher is surer; only answers of one model can be compared."""
    positions: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None
    """The predicted and labelled token positions [N,2] in each question's first window, for the measure of the released
    code; None for written answers and unlabelled questions."""
    spans: tuple[tuple[int, int], ...] | None = None
    """The begin and end of each answer in code points of the context; None for written answers."""
    truncated: dict[str, int] = field(default_factory=dict[str, int])
    """The number of questions longer than their part of the window, by side."""

    def take(self, which: slice) -> "Answers":
        """Return the rows of a slice."""
        positions = None if self.positions is None else (self.positions[0][which], self.positions[1][which])
        spans = None if self.spans is None else self.spans[which]
        return Answers(self.texts[which], self.scores[which], positions, spans, self.truncated)


Outputs = Choices | Answers


def choices(fused: Tensor, source: Tensor, owners: NDArray[np.int64] | None = None) -> Choices:
    """Return logits as choices; a row read in several windows has the normalised mean of their log-probabilities.

    Args:
        fused: The logits [W,K].
        source: The base model's own logits for the source [W,K]; NaN in rows without a source.
        owners: The row [W] that each window belongs to, in the order of the N rows; None: each is its own row.

    Raises:
        UserError: A fused logit is not finite.
    """
    wrong = (~fused.isfinite().all(-1)).nonzero().flatten().tolist()
    if wrong:
        row = (wrong[0] if owners is None else int(owners[wrong[0]])) + 1
        raise UserError(f"the model's outputs are not finite, first in row {row}; lower lr or use fp32", "numbers")
    said, beside = _log_softmax(fused), _log_softmax(source) if source.isfinite().any() else None
    if owners is None:
        return Choices(said, beside)
    windows = np.bincount(owners)
    return Choices(_mean(said, windows), None if beside is None else _mean(beside, windows), windows=windows)


def _mean(values: _Floats, windows: NDArray[np.int64]) -> _Floats:
    """Return the normalised mean [N,K] over the windows of each row; a row with one window stays as it is."""
    first = np.cumsum(windows) - windows
    mean = np.add.reduceat(values, first, axis=0) / windows[:, None]
    several = windows > 1
    mean[several] -= np.logaddexp.reduce(mean[several], axis=1, keepdims=True)
    return mean


def average(*parts: _Floats) -> _Floats:
    """Return the normalised mean [N,K] of log-probabilities; a row that is NaN in one part uses the others."""
    mean = np.nanmean(np.stack(parts), axis=0)
    return mean - np.logaddexp.reduce(mean, axis=1, keepdims=True)


def _log_softmax(values: Tensor) -> _Floats:
    return values.double().log_softmax(-1).numpy()


FormName = Literal["labels", "words", "span", "text"]


class Form(Protocol):
    """One way of giving a task to a model."""

    labels: int
    """K, the number of labels; 0 for questions."""
    longest: int
    """The most tokens of one row."""

    def encode(self, examples: Sequence[Example], latents: Latents | None = None) -> Rows:
        """Tokenise examples, and their answers if they are known.

        Args:
            examples: N examples of the task.
            latents: For FLARE MT, the states of a translation encoder.
        """
        ...

    def collate(self, rows: Sequence[Any], /) -> Batch:
        """Return rows as a batch; it has labels if all rows have them."""
        ...

    def loss(self, model: Any, batch: Batch, step: int = 0, /) -> Tensor:
        """Return the mean loss over the rows of a batch, computed in float32 whatever the model's precision.

        Args:
            model: The model.
            batch: A batch from `collate`; the call changes it.
            step: The number of optimizer steps made so far.
        """
        ...

    def read(
        self, model: Any, examples: Sequence[Example], rows: Any, batch_size: int, precision: Number, description: str
    ) -> Outputs:
        """Return the model's outputs; `rows` are the encoded examples."""
        ...

    def truncated(self, examples: Sequence[Example]) -> dict[str, int]:
        """Return how many targets and sources are cut because they are too long."""
        ...
