"""From what a model says to numbers: scores for every example, and for the whole, under each of a task's metrics."""

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from crossflare.evaluation.answers import normaliser, position_match, score_answers
from crossflare.evaluation.metrics import FloatArray, score
from crossflare.tasks.dataset import Task
from crossflare.tasks.example import Example
from crossflare.tasks.kinds import QuestionTask, TextTask
from crossflare.training.forms.protocol import Answers, Choices

DIGITS = 6
"""Decimals of a log-probability on disk."""


class Scoring(Protocol):
    """How the outputs of one task in one language are scored."""

    def rows(self, examples: Sequence[Example], outputs: Any, /) -> list[dict[str, Any]]:
        """Return what a file of predictions says of each example, beside its id."""
        ...

    def scores(self, examples: Sequence[Example], outputs: Any, /) -> dict[str, float]:
        """Return every metric's score, 0 to 1."""
        ...


class ChoiceScoring:
    """Labels, counted."""

    def __init__(self, task: TextTask) -> None:
        self.classes, self.metrics = len(task.labels), task.metrics

    def rows(self, examples: Sequence[Example], outputs: Choices, /) -> list[dict[str, Any]]:
        """Return gold, prediction, whether it is right, and the log-probabilities."""
        rows: list[dict[str, Any]] = []
        for number, (example, guess) in enumerate(zip(examples, outputs.predicted, strict=True)):
            row: dict[str, Any] = {
                "gold": example.label,
                "prediction": int(guess),
                "correct": int(guess == example.label),
                "log_probabilities": _rounded(outputs.log_probabilities[number]),
            }
            if outputs.source is not None:
                own = outputs.source[number]
                row["source_log_probabilities"] = _rounded(own) if np.isfinite(own).all() else None
            rows.append(row)
        return rows

    def scores(self, examples: Sequence[Example], outputs: Choices, /) -> dict[str, float]:
        """Return the task's metrics."""
        gold = [-1 if example.label is None else example.label for example in examples]  # -1 is refused by `score`
        return {name: score(name, gold, outputs.predicted, self.classes) for name in self.metrics}


class AnswerScoring:
    """Answers, compared as texts under the rules of the set and the language."""

    def __init__(self, task: QuestionTask, language: str) -> None:
        self.normalise = normaliser(task.normalisation, language)

    def rows(self, examples: Sequence[Example], outputs: Answers, /) -> list[dict[str, Any]]:
        """Return gold answers, prediction, its scores, and how sure the model was."""
        values = self.values(examples, outputs)
        return [
            {
                "gold": [answer.text for answer in example.answers],
                "prediction": outputs.texts[number],
                **{name: round(float(column[number]), DIGITS) for name, column in values.items()},
                "score": finite(outputs.scores[number]),
            }
            for number, example in enumerate(examples)
        ]

    def scores(self, examples: Sequence[Example], outputs: Answers, /) -> dict[str, float]:
        """Return exact match and F1, and the released code's position match where it can be told."""
        return {name: float(column.mean()) for name, column in self.values(examples, outputs).items()}

    def values(self, examples: Sequence[Example], outputs: Answers, /) -> dict[str, FloatArray]:
        """Return each metric's scores [N] of the questions."""
        scored = score_answers(outputs.texts, examples, self.normalise)
        values: dict[str, FloatArray] = {"exact_match": scored.exact_match, "f1": scored.f1}
        if outputs.positions is not None:
            values["position_match"] = position_match(*outputs.positions)
        return values


def scoring(task: Task, language: str) -> Scoring:
    """Return how a task is scored in a language."""
    return AnswerScoring(task, language) if isinstance(task, QuestionTask) else ChoiceScoring(task)


def finite(score: float) -> float | None:
    """Return a score as files have it: none where there was nothing to be sure of (an empty context)."""
    return round(score, DIGITS) if math.isfinite(score) else None


def _rounded(values: FloatArray) -> list[float]:
    return [round(float(value), DIGITS) for value in values]
