"""The task of answering a question from a context, and what is common to all sets of such questions."""

from dataclasses import dataclass
from typing import Literal

from crossflare.errors import UserError
from crossflare.tasks.example import Split

QuestionMetric = Literal["exact_match", "f1"]
CONTEXT = 1
"""Place of the context in `Example.texts` of a question."""


@dataclass(frozen=True, slots=True)
class QuestionTask:
    """A question and its context in, a text out: for extractive models a span of the context.

    Raises:
        UserError: The main metric is not among the metrics.
    """

    name: str
    version: int
    """Raised whenever the same file would give other examples or another score: part of every number's signature."""
    normalisation: Literal["squad", "mlqa"] = "mlqa"
    """By which published rules answers are compared: see `evaluation.normalise`. Fixed by the set, never by the user
    of a set: scores under different rules are different numbers."""
    metrics: tuple[QuestionMetric, ...] = ("exact_match", "f1")
    main_metric: QuestionMetric = "f1"
    text_count: Literal[2] = 2
    labels: tuple[str, ...] = ()
    """Always empty; here so that every task can be asked."""

    def __post_init__(self) -> None:
        if self.main_metric not in self.metrics:
            raise UserError(f"task {self.name}: main metric {self.main_metric} is not among {list(self.metrics)}")


def overlapping_ids(train: Split, test: Split) -> tuple[str, ...]:
    """Return the ids of the `test` questions whose context also stands in `train`, in the order of `test`.

    A report may say how many they are, or score the others beside the whole part. Nothing is taken out of it.
    """
    seen = {example.texts[CONTEXT] for example in train}
    return tuple(example.id for example in test if example.texts[CONTEXT] in seen)
