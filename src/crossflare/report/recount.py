"""Check a record's scores against its predictions: a report says nothing that its files do not bear out."""

from functools import cache
from pathlib import Path

import numpy as np

from crossflare.errors import UserError
from crossflare.evaluation.answers import exact_match, f1
from crossflare.evaluation.metrics import METRICS, FloatArray, score
from crossflare.evaluation.normalise import normaliser
from crossflare.evaluation.predictions import AnswerPredictions, Predictions
from crossflare.evaluation.record import Record

TOLERANCE = 1e-6
"""The scores of single examples are on disk with six decimals."""


def recount(path: Path, record: Record, found: Predictions | AnswerPredictions) -> None:
    """Compute the scores of a record again from its predictions.

    Labels and texts are compared anew; only `position_match` is taken as the predictions have it, which hold no
    positions.

    Args:
        path: The record's file, for messages.
        record: What it says.
        found: Its predictions.

    Raises:
        UserError: Record and predictions disagree, or are of unlike tasks.
    """
    classes = len(record.task["labels"])
    if isinstance(found, AnswerPredictions) == bool(classes):
        wanted, got = ("labels", "answers") if classes else ("answers", "labels")
        raise UserError(f"{path}: expected predictions of {wanted} for this task, got {got}; delete it and run again")
    if isinstance(found, AnswerPredictions):
        _check_answers(path, record, found)
        given = {name: float(column.mean()) for name, column in found.values.items()}
    else:
        known = (name for name in record.scores if name in METRICS)
        given = {name: score(name, found.gold, found.predicted, classes, record.labels) for name in known}
    for metric, said in record.scores.items():
        if metric in given and abs(given[metric] - said) > TOLERANCE:
            raise UserError(
                f"{path}: says {metric} {said:.4f}, its predictions give {given[metric]:.4f}; delete it and run again"
            )


def _check_answers(path: Path, record: Record, found: AnswerPredictions) -> None:
    """Check the scores of every question against its texts."""
    style = record.task.get("normalisation")
    if not isinstance(style, str):
        raise UserError(f"{path}: expected task.normalisation, the rules of comparing answers; delete it and run again")
    same = cache(normaliser(style, record.language))  # each text is met twice, and many answers are alike
    pairs = list(zip(found.texts, found.golds, strict=True))
    anew: dict[str, FloatArray] = {
        "exact_match": np.array([exact_match(text, golds, same) for text, golds in pairs]),
        "f1": np.array([f1(text, golds, same) for text, golds in pairs]),
    }
    for metric, values in anew.items():
        wrong = np.flatnonzero(abs(values - found.values[metric]) > TOLERANCE)
        if wrong.size:
            row = int(wrong[0])
            raise UserError(
                f"{path}: its predictions say {metric} {found.values[metric][row]:.4f} of '{found.ids[row]}', the "
                f"texts give {values[row]:.4f}; delete it and run again"
            )
