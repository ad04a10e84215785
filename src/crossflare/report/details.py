"""The values behind the scores: single labels, calibration, costs, and the least detectable difference."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

import numpy as np

from crossflare.evaluation.calibration import accuracy_by_coverage, confidence, sample_errors, tempered
from crossflare.evaluation.metrics import FloatArray
from crossflare.evaluation.paired import detectable
from crossflare.evaluation.per_label import LabelScore, confusion, label_scores
from crossflare.evaluation.predictions import AnswerPredictions, Predictions
from crossflare.evaluation.record import Record
from crossflare.evaluation.significance import Interval, interval
from crossflare.report.methods import grouped
from crossflare.report.runs import Run, RunFolder

Place = tuple[str, str]
"""Method and language."""


@dataclass(frozen=True, slots=True)
class PerLabel:
    """The predictions of one method for each label in one language, over its seeds."""

    names: tuple[str, ...]
    scores: tuple[LabelScore, ...]
    taken_for: FloatArray
    """[K, K + 1]; see `confusion`."""


def per_label(folder: RunFolder, methods: tuple[str, ...]) -> dict[Place, PerLabel]:
    """Return the scores of each label for these methods in each language, counted again from their predictions."""
    found: dict[Place, PerLabel] = {}
    for method in methods:
        for language in folder.languages:
            runs = folder.of(method, language)
            said = [run.predictions for run in runs if isinstance(run.predictions, Predictions)]
            if not said:
                continue
            names = tuple(str(label) for label in runs[0].record.task["labels"])
            predicted, seeds = np.stack([each.predicted for each in said]), [run.record.seed for run in runs]
            scores = label_scores(said[0].ids, said[0].gold, predicted, len(names), seeds)
            found[method, language] = PerLabel(names, tuple(scores), confusion(said[0].gold, predicted, len(names)))
    return found


def best_methods(
    folder: RunFolder, scores: Mapping[Place, Interval | None], subject: str | None, bounds: frozenset[str]
) -> tuple[str, ...]:
    """Return the method with the highest mean score over languages, without upper bounds, and the subject.

    Args:
        folder: The runs.
        scores: The scores of the main metric.
        subject: The method that the report is about.
        bounds: The upper bounds.
    """
    means: dict[str, float] = {}
    for method in folder.methods:
        found = [scores.get((method, language)) for language in folder.languages]
        known = [each.score for each in found if each is not None]
        if len(known) == len(found) and method not in bounds:
            means[method] = float(np.mean(known))
    best = max(means, key=lambda name: means[name], default=None)
    return tuple(dict.fromkeys(name for name in (best, subject) if name is not None))


SHARES = tuple(round(0.05 * step, 2) for step in range(2, 21))
"""Shares of the rows that are answered, surest first."""


@dataclass(frozen=True, slots=True)
class Calibrated:
    """How good one method's probabilities are in one language, over its seeds."""

    raw: Interval
    """Expected calibration error of the models' own probabilities."""
    calibrated: Interval
    """The same with each seed's temperature."""
    temperatures: tuple[float, ...]
    fitted_on: str
    """The language of the dev rows."""
    accuracies: tuple[float, ...]
    """The accuracy of the surest rows for each of `SHARES`: the mean over seeds."""


def calibrations(folder: RunFolder) -> dict[Place, Calibrated]:
    """Return how good the probabilities are of each method whose records have temperatures; older records have none."""
    places = [(method, language) for language in folder.languages for method in folder.methods]
    found = {place: [run for run in folder.of(*place) if run.record.calibration] for place in places}
    return {place: _calibrated(runs) for place, runs in found.items() if runs}


def _calibrated(runs: Sequence[Run]) -> Calibrated:
    said = [run.predictions for run in runs if isinstance(run.predictions, Predictions)]
    first, seeds = said[0], [run.record.seed for run in runs]
    heats = [float(run.record.calibration["temperature"]) for run in runs]
    right = np.stack([each.predicted == each.gold for each in said])
    raw = np.stack([confidence(each.log_probabilities) for each in said])
    cool = np.stack([confidence(tempered(each.log_probabilities, t)) for each, t in zip(said, heats, strict=True)])

    def error(sure: FloatArray) -> Interval:
        return interval(sample_errors(first.ids, first.gold, sure, right, seeds))

    by_share = np.mean([accuracy_by_coverage(sure, hits, SHARES) for sure, hits in zip(cool, right, strict=True)], 0)
    fitted = "+".join(sorted({str(run.record.calibration["language"]) for run in runs}))
    return Calibrated(error(raw), error(cool), tuple(heats), fitted, tuple(by_share.tolist()))


MEASURES: dict[str, Callable[[Record], float | None]] = {
    "training, seconds": lambda record: record.training.get("seconds"),
    "prediction, seconds": lambda record: record.timings.get("predict"),
    "peak memory, GiB": lambda record: most / 2**30 if (most := record.timings.get("peak_memory")) else None,
    "trainable parameters": lambda record: record.training.get("trainable_parameters"),
}
"""Kind of cost -> its value in a record."""


def costs(folder: RunFolder) -> dict[str, dict[str, float]]:
    """Return measure -> method -> mean cost of a run; costs that no record has are left out."""
    found: dict[str, dict[str, float]] = {}
    for name, read in MEASURES.items():
        for method in grouped(folder):
            records = [run.record for key, run in folder.runs.items() if key[0] == method]
            values = [float(value) for record in records if (value := read(record)) is not None]
            if values:
                found.setdefault(name, {})[method] = mean(values)
    return found


@dataclass(frozen=True, slots=True)
class Power:
    """What the test rows of one language, or of all together, can show about the difference of two methods."""

    examples: int
    discordant: float | None
    """The share of examples, over all seeds, whose scores differ; None for the mean over languages."""
    least: float | None
    """The least true difference that can be found; see `detectable`."""


def powers(folder: RunFolder, pair: tuple[str, str], metric: str) -> dict[str | None, Power]:
    """Return by language what its test rows can show about two methods; under None, first, the same for their mean.

    The mean is only there where several languages have the same test rows.
    """
    differences: dict[str, FloatArray] = {}
    for language in folder.languages:
        runs = [[folder.runs[name, language, s] for s in folder.shared_seeds(pair, [language])] for name in pair]
        if runs[0]:
            a, b = (np.stack([item_scores(run, metric) for run in side]) for side in runs)
            differences[language] = a - b
    found: dict[str | None, Power] = {}
    ids = {next(run.ids for key, run in folder.runs.items() if key[1] == language) for language in differences}
    if len(differences) > 1 and len(ids) == 1:
        joint = np.mean([each.mean(0) for each in differences.values()], axis=0)
        found[None] = Power(joint.size, None, detectable(joint))
    for language, each in differences.items():
        found[language] = Power(each.shape[1], float((each != 0).mean()), detectable(each.mean(0)))
    return found


def item_scores(run: Run, metric: str) -> FloatArray:
    """Return [N] scores of single examples, 0 to 1: for answers by the metric, for labels 1 where right."""
    if isinstance(run.predictions, AnswerPredictions):
        return run.predictions.values[metric]
    return (run.predictions.predicted == run.predictions.gold).astype(np.float64)
