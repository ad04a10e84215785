"""What a model says about examples: chosen labels or written answers, as they are scored, averaged and kept.

labels   a classification head                       any family
words    the label's word follows the prompt         models that write
span     start and end of a span of the context      any family, by a question-answering head
text     the answer follows the prompt               models that write
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
    """What a model says of N examples with K labels each."""

    log_probabilities: _Floats
    """[N,K]."""
    source: _Floats | None
    """[N,K] the base model's own for the source; NaN in rows without one, None when no row has one."""
    truncated: dict[str, int] = field(default_factory=dict[str, int])
    """Examples longer than the window, by side."""
    windows: NDArray[np.int64] | None = None
    """[N] windows in which each was read; None: whatever is longer than the window is cut."""

    def take(self, which: slice) -> "Choices":
        """Return these rows."""
        source = None if self.source is None else self.source[which]
        windows = None if self.windows is None else self.windows[which]
        return Choices(self.log_probabilities[which], source, self.truncated, windows)

    @property
    def predicted(self) -> NDArray[np.int64]:
        """[N] indices of the most probable labels."""
        return self.log_probabilities.argmax(1)


@dataclass(frozen=True, slots=True)
class Answers:
    """What a model says to N questions."""

    texts: tuple[str, ...]
    scores: tuple[float, ...]
    """How sure it is, higher is surer; comparable between the answers of one model only."""
    positions: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None
    """Predicted and labelled token positions [N,2] in each first window, for the released code's measure; None for
    written answers and unlabelled questions."""
    spans: tuple[tuple[int, int], ...] | None = None
    """Code points of the context before each answer's begin and before its end; None for written answers."""
    truncated: dict[str, int] = field(default_factory=dict[str, int])
    """Questions longer than their part of the window, by side."""

    def take(self, which: slice) -> "Answers":
        """Return these rows."""
        positions = None if self.positions is None else (self.positions[0][which], self.positions[1][which])
        spans = None if self.spans is None else self.spans[which]
        return Answers(self.texts[which], self.scores[which], positions, spans, self.truncated)


Outputs = Choices | Answers


def choices(fused: Tensor, source: Tensor, owners: NDArray[np.int64] | None = None) -> Choices:
    """Return logits as choices; of a row read in several windows, the mean of their log-probabilities, normalised.

    Args:
        fused: [W,K] logits.
        source: [W,K] the base model's own for the source; NaN in rows that have none.
        owners: [W] which of the N rows each is a window of, in their order; None: each is a row of its own.

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
    """Return the normalised mean [N,K] over the windows of each row; one of a single window is as it is."""
    first = np.cumsum(windows) - windows
    mean = np.add.reduceat(values, first, axis=0) / windows[:, None]
    several = windows > 1
    mean[several] -= np.logaddexp.reduce(mean[several], axis=1, keepdims=True)
    return mean


def average(*parts: _Floats) -> _Floats:
    """Return the normalised mean [N,K] of log-probabilities; a row that is NaN in one part takes the others."""
    mean = np.nanmean(np.stack(parts), axis=0)
    return mean - np.logaddexp.reduce(mean, axis=1, keepdims=True)


def _log_softmax(values: Tensor) -> _Floats:
    return values.double().log_softmax(-1).numpy()


FormName = Literal["labels", "words", "span", "text"]


class Form(Protocol):
    """One way of putting a task to a model."""

    labels: int
    """K labels to choose from; 0 for questions."""
    longest: int
    """Most tokens that a model meets in one row."""

    def encode(self, examples: Sequence[Example], latents: Latents | None = None) -> Rows:
        """Tokenise examples, their answers too where they are known.

        Args:
            examples: N examples of the task.
            latents: For FLARE MT, the states of a translation encoder.
        """
        ...

    def collate(self, rows: Sequence[Any], /) -> Batch:
        """Return rows as a batch, labelled where all are."""
        ...

    def loss(self, model: Any, batch: Batch, step: int = 0, /) -> Tensor:
        """Return the mean loss over the rows of a batch, computed in float32 whatever the model computes in.

        Args:
            model: The model.
            batch: What `collate` made; it is used up.
            step: Optimizer steps made so far.
        """
        ...

    def read(
        self, model: Any, examples: Sequence[Example], rows: Any, batch_size: int, precision: Number, description: str
    ) -> Outputs:
        """Let the model answer; `rows` are the examples encoded."""
        ...

    def truncated(self, examples: Sequence[Example]) -> dict[str, int]:
        """Return how many targets and sources are longer than the model is given."""
        ...
