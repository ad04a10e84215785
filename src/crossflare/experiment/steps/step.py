"""The base of every step: one piece of work, whose id is the content hash of all that it depends on.

If its files exist under that id, the step is done; no other state is kept.
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
"""This number increases whenever ids are built differently or a default changes: ids leave out values at their default.

Below 2, ids contained all options, and the lexicon that a dictionary had learnt.
"""


class NotReadyError(Exception):
    """The step depends on a learning rate that is not chosen yet."""


@dataclass(frozen=True)
class Result:
    """A result of a report: a method in a language with a seed."""

    method: str
    language: str
    seed: int


class Step(ABC):
    """One step of a recipe. Steps of one recipe are equal if they are the same work."""

    kind: ClassVar[str]
    """`stage 1`, `stage 2` or `predict`."""
    trains: ClassVar[bool]
    """Whether it makes a model."""
    context: Context
    seed: int

    @property
    @abstractmethod
    def label(self) -> str:
        """The label for people."""

    @property
    @abstractmethod
    def method_kind(self) -> str:
        """The kind of its method, as in cards and records; `stage1` if it has no method."""

    @property
    @abstractmethod
    def training(self) -> Training:
        """The training settings, or the settings for reading and cutting texts."""

    @property
    @abstractmethod
    def size(self) -> int:
        """The most optimizer steps that it makes, or the number of rows that it reads."""

    @property
    @abstractmethod
    def same_work(self) -> str:
        """A key from the recipe alone, equal for steps of different cells that are made only once."""

    @property
    @abstractmethod
    def files(self) -> tuple[Path, ...]:
        """The files that exist when it is done: a model's card, or a prediction's record and then its rows."""

    @abstractmethod
    def contents(self) -> dict[str, Any]:
        """Return the content that the id is the hash of."""

    @abstractmethod
    def needs(self) -> "Sequence[Step]":
        """Return the steps that come before it."""

    @property
    def id(self) -> str:
        """The content id.

        Raises:
            NotReadyError: The learning rate that it depends on is not chosen.
        """
        return self.context.remember(self, lambda: content_id({"ids": IDS, **self.contents()}))

    @property
    def known_id(self) -> str | None:
        """The content id; None while the learning rate that it depends on is not chosen."""
        try:
            return self.id
        except NotReadyError:
            return None

    def done(self) -> bool:
        """Return whether its files exist."""
        try:
            return all(path.is_file() for path in self.files)
        except NotReadyError:
            return False

    @property
    def what(self) -> str:
        """Its kind and its method's kind, for people."""
        return f"{self.kind} of {self.method_kind}"

    @property
    def hidden(self) -> bool:
        """Whether the recipe does not list it, and it is only a part of another."""
        return False

    @property
    def repeats_a_trial(self) -> bool:
        """Whether a trial of a learning rate is the same work."""
        return False

    @property
    def result(self) -> Result | None:
        """Its result in the report; None for models and for parts of others."""
        return None

    @property
    def link(self) -> str:
        """Its adapter's name for people; empty if it has none."""
        return ""


def check_ready(step: Step) -> None:
    """Raise `UserError` if a step that this one needs is not done."""
    missing = [needed.label for needed in step.needs() if not needed.done()]
    if missing:
        raise UserError(f"{step.label}: needs {', '.join(missing)} first")
