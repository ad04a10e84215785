"""Every number of a report as values: scores, differences and ranks, each with its interval and its signature."""

from collections.abc import Mapping
from dataclasses import dataclass

from crossflare.evaluation.signature import Signature
from crossflare.evaluation.significance import Difference, Interval
from crossflare.report.runs import RunFolder
from crossflare.report.swaps import Outcome


@dataclass(frozen=True, slots=True)
class Cell:
    """One number: a method's mean over seeds in one language, or over all of them. Never made up: see `gap`."""

    metric: str
    method: str
    language: str
    score: Interval | None
    seeds: tuple[int, ...]
    by_seed: tuple[float, ...]
    """The score of each of `seeds`."""
    missing: tuple[int, ...]
    """Seeds that the recipe asks for and that are not in the score."""
    signature: Signature | None
    against: Difference | None
    """This method less the reference."""
    tested: Outcome | None = None
    """The paired tests of that difference."""
    q: float | None = None
    """See `Contrast.q`."""
    gap: str = ""
    """Why there is no score."""
    left_out: bool = False
    """Whether there is none because the recipe asks for none."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """The subject less another method."""

    metric: str
    method: str
    language: str
    difference: Difference | None
    tested: Outcome | None = None
    """The paired tests of the difference."""
    q: float | None = None
    """The permutation test's p after Benjamini and Hochberg over the languages, the macro average apart.

    One family for each pair of methods: with all methods in one, those that anything beats would lend their small p to
    the close ones.
    """
    gap: str = ""
    left_out: bool = False
    """Whether there is none because the recipe does not ask for both in that language."""


@dataclass(frozen=True, slots=True)
class Results:
    """Everything a report says, as values."""

    folder: RunFolder
    metrics: tuple[str, ...]
    """The main one first."""
    subject: str | None
    reference: str | None
    cells: Mapping[tuple[str, str, str], Cell]
    """By metric, method and language."""
    contrasts: Mapping[tuple[str, str, str], Contrast]
    ranks: Mapping[tuple[str, str], Interval]
    """By metric and method: the mean over languages of its rank, among those run in all with the same seeds."""

    @property
    def columns(self) -> tuple[str, ...]:
        """See `RunFolder.columns`."""
        return self.folder.columns

    @property
    def overall(self) -> str:
        """The column that sums a method up."""
        return self.columns[0]

    def contrasted(self, metric: str) -> tuple[str, ...]:
        """Return the columns in which the recipe asks for the subject and at least one other method."""
        return tuple(
            column
            for column in self.columns
            if any(
                not each.left_out
                for each in self.contrasts.values()
                if each.metric == metric and each.language == column
            )
        )
