"""Exact match and F1 of answers, as SQuAD v1.1 defines them, over all gold answers of a question.

Every score is one question's, between 0 and 1; a set's score is the mean over all of its questions, unanswered ones
included. `evaluation.normalise` has the rules by which texts are compared; the set decides which are used.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crossflare.errors import UserError
from crossflare.evaluation.normalise import Normaliser
from crossflare.tasks.example import Example


@dataclass(frozen=True, slots=True)
class AnswerScores:
    """The scores of N questions."""

    exact_match: NDArray[np.float64]
    """[N] 0 or 1."""
    f1: NDArray[np.float64]
    """[N]."""


def exact_match(prediction: str, golds: Sequence[str], normalise: Normaliser) -> float:
    """Return 1 when the prediction equals one of the gold answers after normalisation, else 0."""
    answer = normalise(prediction)
    return float(any(answer == normalise(gold) for gold in golds))


def f1(prediction: str, golds: Sequence[str], normalise: Normaliser) -> float:
    """Return the best F1 of the prediction's words against those of a gold answer, repeated words counted."""
    words = Counter(normalise(prediction).split())
    return max((_overlap(words, Counter(normalise(gold).split())) for gold in golds), default=0.0)


def _overlap(one: Counter[str], other: Counter[str]) -> float:
    # Without a common word the scripts give 0, also when both sides have no word at all.
    common = (one & other).total()
    if not common:
        return 0.0
    precision, recall = common / one.total(), common / other.total()
    return 2 * precision * recall / (precision + recall)


def score_answers(predictions: Sequence[str], examples: Sequence[Example], normalise: Normaliser) -> AnswerScores:
    """Return the scores of one predicted answer per question.

    Args:
        predictions: N answers; an empty one is wrong.
        examples: N questions with their gold answers.
        normalise: See `normaliser`.

    Raises:
        UserError: The counts differ, nothing is there, or a question has no gold answer.
    """
    if len(predictions) != len(examples):
        raise UserError(f"expected one answer per question, got {len(predictions)} for {len(examples)} questions")
    if not examples:
        raise UserError("expected at least one question to score, got none; check the test part of the data")
    golds: list[list[str]] = []
    for example in examples:
        if not example.answers:
            place = f"{example.origin}: " if example.origin else ""
            raise UserError(
                f"{place}question '{example.id}' has no gold answer to score against; label it or only predict"
            )
        golds.append([answer.text for answer in example.answers])
    pairs = list(zip(predictions, golds, strict=True))
    return AnswerScores(
        np.array([exact_match(prediction, gold, normalise) for prediction, gold in pairs]),
        np.array([f1(prediction, gold, normalise) for prediction, gold in pairs]),
    )


def position_match(predicted: ArrayLike, labelled: ArrayLike) -> NDArray[np.float64]:
    """Return the measure that the authors' released code calls exact match: token positions, not texts.

    It looks at the first window of each question alone, where an answer that was cut off is labelled (0, 0), so that
    pointing at the first token counts as right there. It is not comparable with exact match, and only reported under
    its own name beside it.

    Args:
        predicted: [N,2] the most likely start and end token of the first window, each on its own.
        labelled: [N,2] the labelled ones; see `SpanRows.first_windows`.

    Returns:
        [N] 1 where both positions agree, else 0.
    """
    one, other = np.asarray(predicted), np.asarray(labelled)
    if one.shape != other.shape or one.ndim != 2 or one.shape[1] != 2:
        raise UserError(f"expected two arrays of [N,2] positions, got {list(one.shape)} and {list(other.shape)}")
    same: NDArray[Any] = (one == other).all(-1)
    return same.astype(np.float64)
