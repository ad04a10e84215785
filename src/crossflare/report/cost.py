"""What each method costs against how good it is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import mean

from crossflare.evaluation.record import Record
from crossflare.report.methods import grouped
from crossflare.report.results import Results
from crossflare.report.tables import DASH, Entry, Grid, column_name, metric_name, points


@dataclass(frozen=True, slots=True)
class Measure:
    """One kind of cost."""

    name: str
    read: Callable[[Record], float | None]
    show: Callable[[float], str]


MEASURES = (
    Measure("training, seconds", lambda record: record.training.get("seconds"), lambda value: f"{value:,.0f}"),
    Measure("prediction, seconds", lambda record: record.timings.get("predict"), lambda value: f"{value:,.1f}"),
    Measure(
        "peak memory, GiB",
        lambda record: bytes_ / 2**30 if (bytes_ := record.timings.get("peak_memory")) else None,
        lambda value: f"{value:.2f}",
    ),
    Measure(
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
