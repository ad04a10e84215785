"""The report's look at single labels: for the best methods, their scores and who was taken for whom."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from crossflare.evaluation.per_label import LabelScore, confusion, label_scores
from crossflare.evaluation.predictions import Predictions
from crossflare.evaluation.significance import Interval
from crossflare.report.runs import RunFolder

if TYPE_CHECKING:
    from crossflare.evaluation.metrics import FloatArray

MOST = 12
"""Labels up to which there is a table of who was taken for whom."""
Place = tuple[str, str]
"""Method and language."""


@dataclass(frozen=True, slots=True)
class PerLabel:
    """What one method said of each label in one language, over its seeds."""

    names: tuple[str, ...]
    scores: tuple[LabelScore, ...]
    taken_for: "FloatArray"
    """[K, K + 1]; see `confusion`."""


def per_label(folder: RunFolder, methods: tuple[str, ...]) -> dict[Place, PerLabel]:
    """Return what these methods said of each label in each language, counted again from their predictions."""
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
    """Return the method with the highest mean score over languages that is no upper bound, and the subject.

    Args:
        folder: The runs.
        scores: Of the main metric.
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


def label_rows(found: Mapping[Place, PerLabel]) -> Iterator[dict[str, object]]:
    """Yield the scores of each label as `results.json` has them."""
    for (method, language), each in found.items():
        for score in each.scores:
            parts = {"precision": score.precision, "recall": score.recall, "f1": score.f1}
            values = {
                name: None if part is None else {"score": part.score, "low": part.low, "high": part.high}
                for name, part in parts.items()
            }
            given = dict(zip([*each.names, None], each.taken_for[score.label].tolist(), strict=True))
            yield {
                "method": method,
                "language": language,
                "label": each.names[score.label],
                "support": score.support,
                **values,
                "given": {name: count for name, count in given.items() if name is not None},
            }
