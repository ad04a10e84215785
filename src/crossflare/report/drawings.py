"""The drawings of the page: scores, differences, cost, learning curves, and accuracy against coverage."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from crossflare.evaluation.significance import Interval
from crossflare.report import figures
from crossflare.report.details import MEASURES, SHARES
from crossflare.report.grid import MINUS
from crossflare.report.methods import grouped
from crossflare.report.results import Contrast, MethodScore, Results
from crossflare.report.runs import MACRO
from crossflare.report.tables import column_name, metric_name

SPREAD = 1.2
"""A cost is drawn when the dearest method costs this many times the cheapest; smaller differences show nothing."""
DRAWN = tuple(name for name in MEASURES if name != "prediction, seconds")
"""Kinds of cost that are worth a drawing."""


def score_figures(results: Results, metric: str) -> list[figures.Figure]:
    """Return a figure for each column: every method with its interval and its seeds."""
    found = {
        column: [_score_row(results, metric, method, column) for method in grouped(results.folder)]
        for column in results.columns
    }
    limits = (0.0, axis_limits([row for rows in found.values() for row in rows])[1])
    drawn: list[figures.Figure] = []
    for index, (column, rows) in enumerate(found.items()):
        reference = next((row.value for row in rows if row.name == results.reference), None)
        label = f"{metric_name(metric)}, points"
        svg = figures.intervals(f"score{index}", rows, label, limits, reference=reference)
        drawn.append(figures.Figure(_title(results, column), svg))
    return drawn


def _score_row(results: Results, metric: str, method: str, column: str) -> figures.IntervalRow:
    cell = results.cells[metric, method, column]
    dots = tuple(100 * value for value in cell.by_seed)
    return replace(_row(method, cell.score, cell), dots=dots, strong=method == results.subject)


def _row(name: str, found: Interval | None, of: MethodScore | Contrast) -> figures.IntervalRow:
    """Return a row of an interval figure, in points, or why there is no value."""
    if found is None:
        return figures.IntervalRow(name, None, gap=of.gap if of.left_out else "missing")
    return figures.IntervalRow(name, 100 * found.score, 100 * found.low, 100 * found.high)


def headline(results: Results, metric: str) -> figures.Figure | None:
    """Return the figure of subject minus reference in every column; None where the run lacks one of them."""
    subject, reference = results.subject, results.reference
    if subject is None or reference is None or subject == reference or len(results.columns) < 2:
        return None
    rows: list[figures.IntervalRow] = []
    for column in results.contrasted(metric):
        contrast = results.contrasts[metric, reference, column]
        row = _row(column_name(column), contrast.difference, contrast)
        rows.append(replace(row, strong=bool(contrast.difference and contrast.difference.clear)))
    label = f"difference in {metric_name(metric)}, points"
    limits = axis_limits([figures.IntervalRow("", 0.0), *rows])
    title = f"{subject} {MINUS} {reference}, by language"
    return figures.Figure(title, figures.intervals("headline", rows, label, limits, reference=0.0)) if rows else None


def contrast_figures(results: Results, metric: str) -> list[figures.Figure]:
    """Return a figure for each column: the subject minus every other method, around zero."""
    found: dict[str, list[figures.IntervalRow]] = {column: [] for column in results.contrasted(metric)}
    places = [(method, column) for method in grouped(results.folder) for column in found if method != results.subject]
    for method, column in places:
        if contrast := results.contrasts.get((metric, method, column)):
            row = _row(f"{MINUS} {method}", contrast.difference, contrast)
            found[column].append(replace(row, strong=bool(contrast.difference and contrast.difference.clear)))
    limits = axis_limits([figures.IntervalRow("", 0.0), *(row for rows in found.values() for row in rows)])
    label = f"difference in {metric_name(metric)}, points"
    return [
        figures.Figure(_title(results, column), figures.intervals(f"less{index}", rows, label, limits, reference=0.0))
        for index, (column, rows) in enumerate(found.items())
        if rows
    ]


def cost_figures(results: Results) -> list[figures.Figure]:
    """Return a figure of the overall score for each cost in which methods differ."""
    drawn: list[figures.Figure] = []
    for index, measure in enumerate(DRAWN):
        points = scatter_points(results, measure)
        dear = [cost for cost, _ in points.values()]
        if len(points) > 1 and max(dear) >= SPREAD * min(dear):
            label = f"{metric_name(results.metrics[0])}, points"
            drawn.append(
                figures.Figure(measure, figures.scatter(f"cost{index}", points, results.subject, measure, label))
            )
    return drawn


def scatter_points(results: Results, measure: str) -> dict[str, tuple[float, float]]:
    """Return method -> (cost, overall score in points) for the methods that have both, with a cost above 0."""
    cells = {
        method: results.cells[results.metrics[0], method, results.overall].score for method in grouped(results.folder)
    }
    return {
        method: (value, 100 * score.score)
        for method, value in results.costs.get(measure, {}).items()
        if value > 0 and (score := cells[method]) is not None
    }


def axis_limits(rows: Sequence[figures.IntervalRow]) -> tuple[float, float]:
    """Return axis limits that hold every interval and dot, with some space."""
    values = [value for row in rows if row.value is not None for value in (row.value, row.low, row.high, *row.dots)]
    low, high = (min(values), max(values)) if values else (0.0, 100.0)
    air = max(0.06 * (high - low), 0.5)
    return low - air, high + air


def _title(results: Results, column: str) -> str:
    return f"mean of {len(results.folder.languages)} languages" if column == MACRO else column


VALUES = {"dev_score": "dev score, in points", "loss": "training loss"}
TOGETHER = 8
"""The most methods whose lines a reader can tell apart in one drawing."""


@dataclass(frozen=True, slots=True)
class Block:
    """The drawings of one measured value for some methods."""

    title: str
    pens: tuple[tuple[str, figures.Pen], ...]
    """The legend."""
    drawings: tuple[figures.Figure, ...]
    first: bool
    """Whether it is open when the page opens."""


def curve_blocks(results: Results) -> list[Block]:
    """Return the curves of the measured values; every block has the subject and the reference, for comparison."""
    trained = [name for name in grouped(results.folder) if _curves(results, name)]
    found: list[Block] = []
    for value, title in VALUES.items():
        for number, (name, methods) in enumerate(_parts(results, trained)):
            pens = figures.pens(methods, results.subject)
            key = f"{value}-{number}-"
            if drawings := _drawings(results, value, pens, key):
                words = f"{title}: {name}" if name else title
                found.append(Block(words, tuple(pens.items()), tuple(drawings), not found))
    return found


def _parts(results: Results, trained: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Return the methods of each block with its name: all in one block where they are few, else one per group."""
    if len(trained) <= TOGETHER:
        return [("", list(trained))]
    groups = grouped(results.folder)
    always = [name for name in trained if name in (results.reference, results.subject)]
    parts: list[tuple[str, list[str]]] = []
    for heading, names in groupby(trained, groups.__getitem__):
        own = [name for name in names if name not in always]
        room = TOGETHER - len(always)
        pieces = [own[start : start + room] for start in range(0, len(own), room)]
        for number, piece in enumerate(pieces, 1):
            parts.append((f"{heading} ({number})" if len(pieces) > 1 else heading, [*always, *piece]))
    return parts


def _drawings(results: Results, value: str, pens: Mapping[str, figures.Pen], key: str) -> list[figures.Figure]:
    """Return a figure for each language: a line per method (mean over seeds), with its seeds behind it."""
    drawn: list[figures.Figure] = []
    for index, language in enumerate(results.folder.languages):
        lines: list[figures.Line] = []
        for method, pen in pens.items():
            seeds = [_curve(run.record.training.get("curve", []), value) for run in results.folder.of(method, language)]
            seeds = [points for points in seeds if points]
            steps = [tuple(points) for points in seeds]
            # a mean over seeds has a meaning only where all of them were measured
            shared = [step for step in (steps[0] if steps else ()) if all(step in points for points in seeds)]
            if len(seeds) > 1:
                lines += [figures.Line(tuple(points), tuple(points.values()), pen, faint=True) for points in seeds]
            mean = tuple(sum(points[step] for points in seeds) / len(seeds) for step in shared)
            lines += [figures.Line(tuple(shared), mean, pen)] if shared else []
        if lines:
            drawn.append(figures.Figure(language, figures.curves(f"{key}{index}", lines, "step", VALUES[value])))
    return drawn


def _curve(points: Sequence[Any], value: str) -> dict[float, float]:
    """Return step -> value, scores in points."""
    scale = 100 if value == "dev_score" else 1
    return {float(point["step"]): scale * float(point[value]) for point in points if point.get(value) is not None}


def _curves(results: Results, method: str) -> bool:
    return any(run.record.training.get("curve") for key, run in results.folder.runs.items() if key[0] == method)


def coverage_legend(results: Results) -> list[tuple[str, figures.Pen]]:
    """Return the methods in the pictures with their pens: subject, reference, and as many as one can tell apart."""
    there = [method for method in grouped(results.folder) if method in {name for name, _ in results.calibrated}]
    first = [method for method in there if method in (results.subject, results.reference)]
    shown = [*first, *(method for method in there if method not in first)][:TOGETHER]
    return list(figures.pens([method for method in there if method in shown], results.subject).items())


def coverage_figures(results: Results) -> list[figures.Figure]:
    """Return a picture for each language: the accuracy of the surest rows against the share of rows answered."""
    drawn: list[figures.Figure] = []
    pens = coverage_legend(results)
    shares = tuple(100 * share for share in SHARES)
    for index, language in enumerate(results.folder.languages):
        lines = [
            figures.Line(shares, tuple(100 * each for each in found.accuracies), pen)
            for method, pen in pens
            if (found := results.calibrated.get((method, language)))
        ]
        if lines:
            svg = figures.curves(f"coverage{index}", lines, "rows answered, surest first, %", "accuracy, points")
            drawn.append(figures.Figure(language, svg))
    return drawn
