"""The parts of a run (rows, loss, plan) and its state (learning curve, best score)."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crossflare.training.loop.checkpoints import Fingerprint
from crossflare.training.loop.memory import Number
from crossflare.training.loop.settings import Settings


@dataclass(frozen=True, slots=True)
class Point:
    """One point of the learning curve."""

    step: int
    loss: float | None
    """The mean training loss since the previous point."""
    score: float | None
    """The score on dev; None without dev rows."""


@dataclass(slots=True)
class Progress:
    """The state of a run; its JSON is part of every checkpoint."""

    curve: list[Point] = field(default_factory=list[Point])
    loss_sum: float = 0.0
    loss_steps: int = 0
    """The number of steps since the last point, which `loss_sum` is the sum over."""
    best_score: float | None = None
    best_step: int = 0
    without_gain: int = 0
    """The number of evaluations since the best one."""
    stopped: bool = False
    """Whether patience ran out."""
    seconds: float = 0.0

    @property
    def note(self) -> str:
        """A note for people: the mean loss since the last evaluation on dev, and the score there."""
        loss = f"loss {self.loss_sum / self.loss_steps:.3f}" if self.loss_steps else ""
        score = self.curve[-1].score if self.curve else None
        return loss if score is None else f"{loss} dev {100 * score:.1f}"

    def add_loss(self, loss: float) -> None:
        """Add the loss of one optimizer step."""
        self.loss_sum += loss
        self.loss_steps += 1

    def add_point(self, step: int, score: float | None) -> bool:
        """Close a point of the curve; return whether `score` is the best so far (of equal scores, the first is)."""
        self.curve.append(Point(step, self.loss_sum / self.loss_steps if self.loss_steps else None, score))
        self.loss_sum, self.loss_steps = 0.0, 0
        if score is None:
            return False
        better = self.best_score is None or score > self.best_score
        if better:
            self.best_score, self.best_step, self.without_gain = score, step, 0
        else:
            self.without_gain += 1
        return better

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Progress":
        """Return the state from the values of `as_json`."""
        points = [Point(**point) for point in value["curve"]]
        rest: dict[str, Any] = {name: entry for name, entry in value.items() if name != "curve"}
        return cls(curve=points, **rest)


Batch = dict[str, Tensor]


Loss = Callable[[Any, Batch, int], Tensor]
"""(model, batch, optimizer steps made so far) -> mean loss over the batch's examples."""


Score = Callable[[Any, Number], float]
"""(model, precision) -> score on dev, higher is better."""


class Rows(Protocol):
    """N training rows, each with its own `position`, as in `encoded.Encoded`."""

    @property
    def names(self) -> Sequence[str]:
        """The ids [N], for messages."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The number of tokens of each row [N]."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """All parts of a run except the model."""

    rows: Rows
    collate: Callable[[Sequence[Any]], Batch]
    loss: Loss
    score: Score | None
    settings: Settings
    precision: Number
    steps: int
    folder: Path
    """The folder of the checkpoints."""
    fingerprint: Fingerprint
    device: torch.device
    group: int = 1
    """The number of consecutive rows that stay together in a batch."""
    processes: int = 1
    labels: NDArray[np.int64] | None = None
    """The labels [N], which then are equally frequent in every epoch; None: every epoch has every row once."""
