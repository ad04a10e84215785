"""How far a run's probabilities can be trusted, as the models say them and with their temperatures."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from crossflare.evaluation.calibration import accuracy_by_coverage, confidence, sample_errors, tempered
from crossflare.evaluation.metrics import FloatArray
from crossflare.evaluation.predictions import Predictions
from crossflare.evaluation.significance import Interval, interval
from crossflare.report.runs import Run, RunFolder

SHARES = tuple(round(0.05 * step, 2) for step in range(2, 21))
"""Of the rows, that are answered in the picture."""
Place = tuple[str, str]
"""Method and language."""


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What one method's probabilities are worth in one language, over its seeds."""

    raw: Interval
    """Expected calibration error of what the models say."""
    calibrated: Interval
    """The same with each seed's temperature."""
    temperatures: tuple[float, ...]
    fitted_on: str
    """The language of the dev rows."""
    accuracies: tuple[float, ...]
    """For each of `SHARES` the accuracy of the surest rows: the mean over seeds."""


def calibrations(folder: RunFolder) -> dict[Place, Calibrated]:
    """Return what the probabilities are worth of each method whose records have temperatures; none of older runs."""
    found: dict[Place, Calibrated] = {}
    for language in folder.languages:
        for method in folder.methods:
            runs = [run for run in folder.of(method, language) if run.record.calibration]
            if runs:
                found[method, language] = _of(runs)
    return found


def _of(runs: Sequence[Run]) -> Calibrated:
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


def calibration_rows(found: Mapping[Place, Calibrated]) -> Iterator[dict[str, object]]:
    """Yield what `results.json` has of each method and language."""
    for (method, language), each in found.items():
        yield {
            "method": method,
            "language": language,
            "error": asdict(each.raw),
            "error_calibrated": asdict(each.calibrated),
            "temperatures": list(each.temperatures),
            "fitted_on": each.fitted_on,
            "accuracy_by_coverage": dict(zip(map(str, SHARES), each.accuracies, strict=True)),
        }
