"""How sure a model may be: one temperature fitted on dev rows, the error of probabilities, and when to abstain.

Shapes: N examples, S seeds, K labels, R resamples. A confidence is the probability of the predicted label.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crossflare.errors import UserError
from crossflare.evaluation.metrics import FloatArray, IntArray
from crossflare.evaluation.significance import Sample, resampled

BINS = 15
STEPS = 100
"""A threshold is kept for each of this many shares of the rows."""
COLDEST, HOTTEST = 0.05, 20.0
"""Bounds of a temperature: if all dev rows were right it would be 0, and each answer certain."""
RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Calibration:
    """What dev rows show about a model's probabilities."""

    temperature: float
    """The divisor of the model's log-probabilities: above 1 where the model is too sure."""
    thresholds: tuple[float, ...]
    """[STEPS + 1] the least calibrated confidence of the surest 0, 1, ... 100 % of the dev rows."""
    rows: int
    """How many dev rows it is fitted on."""

    def threshold(self, coverage: float) -> float:
        """Return the confidence below which a model abstains, so that it answers this share of rows like the dev rows.

        Raises:
            UserError: The share is not above 0 and at most 1.
        """
        if not 0 < coverage <= 1:
            raise UserError(f"coverage: expected a share of the rows above 0 and at most 1, got {coverage:g}")
        return self.thresholds[math.ceil(round(coverage * STEPS, 6))]


def fit_calibration(log_probabilities: ArrayLike, gold: ArrayLike) -> Calibration:
    """Return the temperature with the least log-loss on N labelled rows, and the thresholds under it.

    Args:
        log_probabilities: [N, K].
        gold: [N] label indices.
    """
    from scipy.optimize import minimize_scalar

    said, labels = np.asarray(log_probabilities, dtype=np.float64), np.asarray(gold)

    def loss(cold: float) -> float:  # it is convex in the inverse temperature
        scaled = tempered(said, 1 / cold)
        return -float(scaled[np.arange(len(labels)), labels].mean())

    found: Any = minimize_scalar(loss, bounds=(1 / HOTTEST, 1 / COLDEST), method="bounded", options={"xatol": 1e-7})
    temperature = round(1 / float(found.x), 6)
    sure = np.sort(confidence(tempered(said, temperature)))[::-1]
    places = [max(1, math.ceil(step * len(sure) / STEPS)) - 1 for step in range(STEPS + 1)]
    floors = np.floor(sure[places] * 1e6) / 1e6
    floors[-1] = 0.0  # all rows are answered, whatever their confidence
    return Calibration(temperature, tuple(floors.tolist()), len(sure))


def tempered(log_probabilities: FloatArray, temperature: float) -> FloatArray:
    """Return the log-probabilities [N, K] divided by a temperature, normalised."""
    scaled = log_probabilities / temperature
    return scaled - np.logaddexp.reduce(scaled, axis=-1, keepdims=True)


def confidence(log_probabilities: FloatArray) -> FloatArray:
    """Return [N] the probability of the most probable label."""
    return np.exp(log_probabilities.max(-1))


def sample_errors(
    ids: Sequence[str], gold: IntArray, sure: FloatArray, right: NDArray[np.bool_], seeds: Sequence[int]
) -> Sample:
    """Return the expected calibration error, observed and resampled.

    It is the mean over `BINS` bins of equal size, in the order of their confidence, of the distance between mean
    confidence and accuracy (Nguyen and O'Connor, EMNLP 2015). The bins are those of the observed rows. The resamples
    are shifted to the observed mean: each has more error by chance, so that percentiles would be too high.

    Args:
        ids: N ids, unique.
        gold: [N] label indices.
        sure: [S, N] confidences.
        right: [S, N] whether the predicted label is right.
        seeds: S training seeds, unique.
    """
    number = len(ids)
    parts = np.zeros((number, len(seeds), BINS))
    for place, row in enumerate(sure):
        for each, rows in enumerate(np.array_split(np.argsort(row, kind="stable"), BINS)):
            parts[rows, place, each] = row[rows] - right[place][rows]
    # In steps of 2^-30 the sums are exact, in whatever order the threads of a machine add them.
    flat = np.round(parts.reshape(number, -1) * 2.0**30) / 2.0**30

    def score(weights: IntArray) -> dict[str, FloatArray]:
        sums = (weights.astype(np.float64) @ flat).reshape(len(weights), len(seeds), BINS)
        return {"error": abs(sums).sum(-1) / number}

    drawn = resampled(ids, gold.tolist(), seeds, score, RESAMPLES, 0)["error"]
    # Distances include chance, and a resample has it twice: its spread is kept, its bias is not.
    centred = drawn.observed + drawn.resampled - drawn.resampled.mean(0)
    return replace(drawn, resampled=centred.clip(0, 1))


def accuracy_by_coverage(sure: FloatArray, right: NDArray[np.bool_], shares: Sequence[float]) -> list[float]:
    """Return the accuracy of the surest rows, for each share of the N rows that is answered."""
    order = np.argsort(-sure, kind="stable")
    hits = np.cumsum(right[order])
    counts = [max(1, math.ceil(round(share * len(sure), 6))) for share in shares]
    return [float(hits[count - 1] / count) for count in counts]


def calibration_from(value: object, where: str) -> Calibration:
    """Return the calibration that a model's card keeps.

    Raises:
        UserError: The value is not one that crossflare writes.
    """
    advice = "expected a temperature, 101 thresholds and the number of rows; train the adapter again"
    if not isinstance(value, dict) or set(value) != {"temperature", "thresholds", "rows"}:  # pyright: ignore
        raise UserError(f"{where}: {advice}", "artefact")
    heat, floors, rows = value["temperature"], value["thresholds"], value["rows"]  # pyright: ignore
    sound = _number(heat, COLDEST, HOTTEST) and isinstance(rows, int) and isinstance(floors, list)  # pyright: ignore
    if not sound or len(floors) != STEPS + 1 or not all(_number(each, 0, 1) for each in floors):  # pyright: ignore
        raise UserError(f"{where}: {advice}", "artefact")
    return Calibration(float(heat), tuple(map(float, floors)), rows)  # pyright: ignore


def _number(value: object, low: float, high: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
