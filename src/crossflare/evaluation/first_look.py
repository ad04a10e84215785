"""The score of one file of predictions with its interval, for the line that says it is there."""

from crossflare.evaluation.predictions import AnswerPredictions, Predictions
from crossflare.evaluation.significance import RESAMPLES, Interval, interval, sample, sample_values

MOST = 5_000_000
"""Rows that are drawn at most: the line must not take longer than the prediction. A report draws all resamples."""


def first_look(found: Predictions | AnswerPredictions, classes: int, metric: str) -> Interval:
    """Return the score of one run and its interval over the test rows alone.

    Raises:
        UserError: The predictions cannot be scored.
    """
    found = found.take(sorted(range(len(found.ids)), key=found.ids.__getitem__))  # as a report orders them
    draws = max(1000, min(RESAMPLES, MOST // max(1, len(found.ids))))
    if isinstance(found, AnswerPredictions):
        drawn = sample_values(found.ids, found.golds, {metric: found.values[metric]}, [0], resamples=draws)
    else:
        drawn = sample(found.ids, found.gold, found.predicted, classes, [0], resamples=draws)
    return interval(drawn[metric])
