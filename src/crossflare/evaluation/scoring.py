"""A model's predictions for every row, the combined predictions of several methods, and their scores."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, Protocol

import numpy as np

from crossflare.errors import UserError
from crossflare.evaluation.answers import normaliser, position_match, score_answers
from crossflare.evaluation.metrics import FloatArray, score
from crossflare.tasks.dataset import Task
from crossflare.tasks.example import Example
from crossflare.tasks.kinds import QuestionTask, TextTask
from crossflare.training.forms.protocol import Answers, Choices, Form, Outputs
from crossflare.training.loop.memory import resolve
from crossflare.training.loop.settings import Precision
from crossflare.training.loop.state import Rows
from crossflare.training.text.encoded import Latents

DIGITS = 6
"""Decimals of a log-probability on disk."""


def predict(
    model: Any,
    form: Form,
    examples: Sequence[Example],
    *,
    read: Literal["target", "source", "both", "latents"],
    latents: Latents | None = None,
    batch_size: int = 64,
    precision: Precision = "auto",
) -> Outputs:
    """Run a model over examples.

    Args:
        model: A model that can do the task in the form, with or without adapters.
        form: The form in which the model gets the task; with sources where `read` is `both`.
        examples: N rows; the model does not see labels and answers.
        read: `target`: the texts; `source`: the sources instead of them (translate-test); `both`: a FLARE model reads
            the texts together with their sources; `latents`: the texts together with `latents` (FLARE MT).
        latents: The translation encoder's states.
        batch_size: Rows per forward pass.
        precision: The number format of the computation, as in training.
    """
    rows: Sequence[Example] = examples
    if read == "source":
        # A row without a translation is read as it is: every row needs a prediction. Gold answers belong to the
        # target's texts: no span of the translation is labelled.
        rows = [
            replace(e, texts=e.source, source=None, answers=()) if e.source else replace(e, source=None) for e in rows
        ]
    outputs = read_tokens(model, form, rows, tokens_of(form, rows, latents), batch_size, precision)
    return replace(outputs, truncated=form.truncated(rows))


def tokens_of(form: Form, examples: Sequence[Example], latents: Latents | None = None) -> Rows:
    """Return examples as tokens, without their labels; see `predict`."""
    return form.encode([replace(e, label=None) for e in examples], latents)


def read_tokens(
    model: Any, form: Form, examples: Sequence[Example], tokens: Rows, batch_size: int, precision: Precision
) -> Outputs:
    """Run a model over the tokens of examples; see `predict`."""
    number = resolve(precision, next(model.parameters()).device)
    return form.read(model, examples, tokens, batch_size, number, "predicting")


def stack(fitted_on: Sequence[FloatArray], gold: Sequence[int], read: Sequence[FloatArray]) -> FloatArray:
    """Fit a logistic regression on M methods' predictions for dev rows; return its predictions [N,K] for other rows.

    Its features are the methods' log-probabilities side by side; scikit-learn's defaults (L2, C = 1) prevent
    overfitting on the hundred rows of a dev part.

    Args:
        fitted_on: M log-probabilities [D,K] of dev rows.
        gold: D label indices.
        read: M log-probabilities [N,K] of the rows to label.

    Raises:
        UserError: A label has no dev row, so that nothing can be learnt about it.
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


FOLDS = 5


def held_out(said: Sequence[FloatArray], gold: Sequence[int]) -> FloatArray:
    """Return the regression's prediction for each dev row [D,K] when it is fitted on the rows of the other folds.

    If a label has a single row, the other folds have none of it: then the regression is fitted on all rows.

    Args:
        said: M log-probabilities [D,K] of dev rows.
        gold: D label indices.
    """
    labels = np.array(gold, dtype=np.int64)
    if np.bincount(labels, minlength=said[0].shape[1]).min() < 2:
        return stack(said, labels.tolist(), said)
    fold = np.empty_like(labels)
    fold[np.argsort(labels, kind="stable")] = np.arange(len(labels)) % FOLDS
    made = np.empty_like(said[0])
    for each in range(min(FOLDS, len(labels))):
        here = fold == each
        made[here] = stack([s[~here] for s in said], labels[~here].tolist(), [s[here] for s in said])
    return made


class Scoring(Protocol):
    """The scoring of one task in one language."""

    def rows(self, examples: Sequence[Example], outputs: Any, /) -> list[dict[str, Any]]:
        """Return the fields of each example in a file of predictions, without its id."""
        ...

    def scores(self, examples: Sequence[Example], outputs: Any, /) -> dict[str, float]:
        """Return every metric's score, 0 to 1."""
        ...


class ChoiceScoring:
    """Scoring of labels: they are counted."""

    def __init__(self, task: TextTask) -> None:
        self.classes, self.metrics = len(task.labels), task.metrics

    def rows(self, examples: Sequence[Example], outputs: Choices, /) -> list[dict[str, Any]]:
        """Return gold, prediction, whether it is right, and the log-probabilities where they are known."""
        rows: list[dict[str, Any]] = []
        for number, (example, guess) in enumerate(zip(examples, outputs.predicted, strict=True)):
            row: dict[str, Any] = {
                "gold": example.label,
                "prediction": int(guess),
                "correct": int(guess == example.label),
            }
            if outputs.log_probabilities.shape[1]:
                row["log_probabilities"] = _rounded(outputs.log_probabilities[number])
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
    """Scoring of answers: they are compared as texts, under the rules of the set and the language."""

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
        """Return exact match and F1, and the released code's position match where it is known."""
        return {name: float(column.mean()) for name, column in self.values(examples, outputs).items()}

    def values(self, examples: Sequence[Example], outputs: Answers, /) -> dict[str, FloatArray]:
        """Return each metric's scores [N] of the questions."""
        scored = score_answers(outputs.texts, examples, self.normalise)
        values: dict[str, FloatArray] = {"exact_match": scored.exact_match, "f1": scored.f1}
        if outputs.positions is not None:
            values["position_match"] = position_match(*outputs.positions)
        return values


def scoring(task: Task, language: str) -> Scoring:
    """Return the scoring of a task in a language."""
    return AnswerScoring(task, language) if isinstance(task, QuestionTask) else ChoiceScoring(task)


def finite(score: float) -> float | None:
    """Return a score as files hold it: None where there was nothing to score (an empty context)."""
    return round(score, DIGITS) if math.isfinite(score) else None


def _rounded(values: FloatArray) -> list[float]:
    return [round(float(value), DIGITS) for value in values]
