"""What every step is: one piece of work, whose id is the content hash of all that it depends on.

A file under that id is the step done; nothing else is kept.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from crossflare.disk.files import content_id
from crossflare.errors import UserError
from crossflare.experiment.steps.context import Context
from crossflare.recipe.spec import Training

IDS = 2
"""Raised whenever an id is built otherwise or a default changes: what is as by default is not in it.

Below 2, ids named all options, and the lexicon that a dictionary had learnt.
"""


class NotReadyError(Exception):
    """The step depends on another that is not done: the learning rate is still being chosen."""


@dataclass(frozen=True)
class Result:
    """What a report is told of: a method in a language with a seed."""

    method: str
    language: str
    seed: int


class Step(ABC):
    """One step of a recipe. Steps of one recipe are equal where they are the same work."""

    kind: ClassVar[str]
    """`stage 1`, `stage 2` or `predict`."""
    trains: ClassVar[bool]
    """Whether it makes a model."""
    context: Context
    seed: int

    @property
    @abstractmethod
    def label(self) -> str:
        """What a person reads."""

    @property
    @abstractmethod
    def method_kind(self) -> str:
        """The kind of its method, as cards and records name it; `stage1` where it has none."""

    @property
    @abstractmethod
    def training(self) -> Training:
        """How it trains, or how the texts that it reads are cut."""

    @property
    @abstractmethod
    def size(self) -> int:
        """How many optimizer steps it makes at most, or how many rows it reads."""

    @property
    @abstractmethod
    def same_work(self) -> str:
        """What steps of different cells agree on when they are made once, told from their recipes alone."""

    @property
    @abstractmethod
    def files(self) -> tuple[Path, ...]:
        """The files that are there when it is done: of a model its card; of a prediction the record, then the rows."""

    @abstractmethod
    def contents(self) -> dict[str, Any]:
        """Return what the id is the hash of."""

    @abstractmethod
    def needs(self) -> "Sequence[Step]":
        """Return the steps that come before it."""

    @property
    def id(self) -> str:
        """Content id.

        Raises:
            NotReadyError: The learning rate that it depends on is not chosen.
        """
        return self.context.remember(self, lambda: content_id({"ids": IDS, **self.contents()}))

    @property
    def known_id(self) -> str | None:
        """Content id; None while the learning rate that it depends on is not chosen."""
        try:
            return self.id
        except NotReadyError:
            return None

    def done(self) -> bool:
        """Return whether its files are there."""
        try:
            return all(path.is_file() for path in self.files)
        except NotReadyError:
            return False

    @property
    def what(self) -> str:
        """Its kind and that of its method, for a person."""
        return f"{self.kind} of {self.method_kind}"

    @property
    def hidden(self) -> bool:
        """Whether the recipe does not list it: it is only a part of another."""
        return False

    @property
    def repeats_a_trial(self) -> bool:
        """Whether a trial of a learning rate is the same work."""
        return False

    @property
    def result(self) -> Result | None:
        """What of the report it is; None for models and for parts of others."""
        return None

    @property
    def link(self) -> str:
        """The name under which a person finds its adapter; empty for none."""
        return ""


def check_ready(step: Step) -> None:
    """Raise `UserError` when a step is asked for before those it needs."""
    missing = [needed.label for needed in step.needs() if not needed.done()]
    if missing:
        raise UserError(f"{step.label}: needs {', '.join(missing)} first")
