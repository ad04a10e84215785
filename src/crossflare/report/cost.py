"""What each method costs against how good it is, and how small a difference the test sets could have shown."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from statistics import mean

import numpy as np

from crossflare.evaluation.metrics import FloatArray
from crossflare.evaluation.paired import detectable
from crossflare.evaluation.predictions import AnswerPredictions
from crossflare.evaluation.record import Record
from crossflare.report.methods import grouped
from crossflare.report.results import Results
from crossflare.report.runs import Run
from crossflare.report.tables import DASH, Entry, Grid, column_name, metric_name, points


@dataclass(frozen=True, slots=True)
class CostRow:
    """One kind of cost."""

    name: str
    read: Callable[[Record], float | None]
    show: Callable[[float], str]


MEASURES = (
    CostRow("training, seconds", lambda record: record.training.get("seconds"), lambda value: f"{value:,.0f}"),
    CostRow("prediction, seconds", lambda record: record.timings.get("predict"), lambda value: f"{value:,.1f}"),
    CostRow(
        "peak memory, GiB",
        lambda record: bytes_ / 2**30 if (bytes_ := record.timings.get("peak_memory")) else None,
        lambda value: f"{value:.2f}",
    ),
    CostRow(
        "trainable parameters",
        lambda record: record.training.get("trainable_parameters"),
        lambda value: f"{value:,.0f}",
    ),
)
DRAWN = tuple(MEASURES[place].name for place in (0, 2, 3))
"""Those worth a drawing."""


def costs(results: Results) -> Mapping[str, Mapping[str, float]]:
    """Return measure -> method -> mean cost of a run; what nothing is recorded of is left out."""
    found: dict[str, dict[str, float]] = {}
    for measure in MEASURES:
        for method in grouped(results.folder):
            records = [run.record for key, run in results.folder.runs.items() if key[0] == method]
            values = [float(value) for record in records if (value := measure.read(record)) is not None]
            if values:
                found.setdefault(measure.name, {})[method] = mean(values)
    return found


def cost_grid(results: Results) -> Grid | None:
    """Return methods by costs, with the overall score beside them; None where nothing is recorded."""
    found, main = costs(results), results.metrics[0]
    if not found:
        return None
    shows = {measure.name: measure.show for measure in MEASURES}
    rows: list[tuple[str, tuple[Entry, ...]]] = []
    for method in grouped(results.folder):
        score = results.cells[main, method, results.overall].score
        entries = [Entry(points(score.score) if score else DASH, empty=score is None)]
        for name, values in found.items():
            entries.append(Entry(shows[name](values[method])) if method in values else Entry(DASH, empty=True))
        rows.append((method, tuple(entries)))
    where = column_name(results.overall)
    return Grid(
        "cost of one run",
        ("method", f"{metric_name(main)}, {where}", *found),
        tuple(rows),
        "Mean over languages and seeds. Methods that read another's adapter show what training it cost; choosing the "
        "learning rate and translating are not in it.",
        grouped(results.folder),
    )


def scatter_points(results: Results, measure: str) -> dict[str, tuple[float, float]]:
    """Return method -> (cost, overall score in points) of the methods that have both and cost something."""
    cells = {
        method: results.cells[results.metrics[0], method, results.overall].score for method in grouped(results.folder)
    }
    return {
        method: (value, 100 * score.score)
        for method, value in costs(results).get(measure, {}).items()
        if value > 0 and (score := cells[method]) is not None
    }


def detectable_grid(results: Results) -> Grid | None:
    """Return per language the test examples, how many the two main methods answer unlike, and what that can show.

    The difference is of accuracy for labels, whatever the main metric, and of the main metric for answers. None where
    the run has no two main methods or they have no run in common.
    """
    subject, reference = results.subject, results.reference
    if subject is None or reference is None or subject == reference:
        return None
    found = dict(_differences(results, (subject, reference)))
    if not found:
        return None
    first = next(iter(results.folder.runs.values()))
    labels = not isinstance(first.predictions, AnswerPredictions)
    rows = [(language, _entries(each)) for language, each in found.items()]
    ids = {next(run.ids for key, run in results.folder.runs.items() if key[1] == language) for language in found}
    if len(found) > 1 and len(ids) == 1:
        joint = np.mean([each.mean(0) for each in found.values()], axis=0, keepdims=True)
        rows.insert(0, ("mean of the languages", _entries(joint, discordant=False)))
    return Grid(
        f"least difference to be found: {'accuracy' if labels else metric_name(results.metrics[0])}",
        ("", "examples", "discordant", "points"),
        tuple(rows),
        f"The true difference of {subject} and {reference} that a paired two-sided test at 5 % over the test examples "
        "finds in 80 of 100 cases, from how often the two were right one without the other (Connor, 1987; the seeds' "
        "models averaged). Finding a smaller one takes luck.",
    )


def _differences(results: Results, pair: tuple[str, str]) -> Iterator[tuple[str, FloatArray]]:
    """Yield each language with the differences [S, N] of the two methods' scores of its examples."""
    for language in results.folder.languages:
        seeds = results.folder.shared_seeds(pair, [language])
        sides = [
            np.stack([item_scores(results.folder.runs[method, language, seed], results.metrics[0]) for seed in seeds])
            for method in pair
            if seeds
        ]
        if sides:
            yield language, sides[0] - sides[1]


def item_scores(run: Run, metric: str) -> FloatArray:
    """Return [N] scores of single examples, 0 to 1: of answers by the metric, of labels 1 for right."""
    if isinstance(run.predictions, AnswerPredictions):
        return run.predictions.values[metric]
    return (run.predictions.predicted == run.predictions.gold).astype(np.float64)


def _entries(differences: FloatArray, *, discordant: bool = True) -> tuple[Entry, ...]:
    least = detectable(differences.mean(0))
    share = f"{(differences != 0).mean():.1%}" if discordant else DASH
    return (
        Entry(f"{differences.shape[1]:,}"),
        Entry(share, empty=not discordant),
        Entry(DASH if least is None else points(least), empty=least is None),
    )
