"""The differences of a grid: each method less the reference, cell by cell, as a table and as drawings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from crossflare.evaluation.significance import Difference
from crossflare.report import figures
from crossflare.report.drawings import axis_limits
from crossflare.report.grid import MINUS, Entry, Grid, points, span, text_entry
from crossflare.report.methods import variants_of_flare
from crossflare.report.results import Results

LEGEND = (
    "The mean over languages and seeds; under it the 95 % interval of the paired difference, over the same test rows "
    "and seeds of the cell. Bold where it excludes 0."
)


@dataclass(frozen=True, slots=True)
class CellDifferences:
    """The overall differences of one cell's methods to its reference."""

    name: str
    reference: str = ""
    """Empty where the cell has none, or has not run."""
    found: Mapping[str, Difference] = field(default_factory=dict[str, Difference])
    drawn: tuple[str, ...] = ()
    """The methods that have a drawing: the variants of FLARE."""

    @classmethod
    def of(cls, results: Results) -> "CellDifferences":
        """Return those of a report's main metric."""
        metric, methods = results.metrics[0], results.folder.methods
        cells = {method: results.cells[metric, method, results.overall].against for method in methods}
        found = {method: value for method, value in cells.items() if value is not None}
        drawn = tuple(method for method in variants_of_flare(results.folder) if method in found)
        return cls(results.folder.path.name, results.reference or "", found, drawn)


def differences_grid(cells: Sequence[CellDifferences], reference: str) -> Grid | None:
    """Return methods by cells; None where fewer than two cells have a difference."""
    shown = _with_values(cells, reference)
    if not shown:
        return None
    methods = list(dict.fromkeys(method for cell in shown for method in cell.found))
    rows = tuple((method, tuple(_entry(cell.found.get(method)) for cell in shown)) for method in methods)
    title = f"each method less {reference}: the main metric of each task, in points"
    return Grid(title, ("method", *(cell.name for cell in shown)), rows, LEGEND)


def difference_figures(cells: Sequence[CellDifferences], reference: str) -> list[figures.Figure]:
    """Return a drawing for each variant of FLARE: its difference to the reference in every cell."""
    shown = _with_values(cells, reference)
    rows = {
        method: [_row(cell.name, cell.found[method]) for cell in shown if method in cell.found]
        for method in dict.fromkeys(method for cell in shown for method in cell.drawn)
    }
    limits = axis_limits([figures.IntervalRow("", 0.0), *(row for some in rows.values() for row in some)])
    return [
        figures.Figure(
            f"{method} {MINUS} {reference}, cell by cell",
            figures.intervals(f"cells{number}", some, "difference in points", limits, reference=0.0),
        )
        for number, (method, some) in enumerate(rows.items())
    ]


def _with_values(cells: Sequence[CellDifferences], reference: str) -> list[CellDifferences]:
    found = [cell for cell in cells if cell.reference == reference and cell.found]
    return found if len(found) > 1 else []


def _entry(found: Difference | None) -> Entry:
    if found is None:
        return text_entry("")
    return Entry(points(found.score, signed=True), (span(found, signed=True),), found.clear)


def _row(name: str, found: Difference) -> figures.IntervalRow:
    values = (100 * found.score, 100 * found.low, 100 * found.high)
    return figures.IntervalRow(name.replace(",", ", "), *values, strong=found.clear)
