"""One HTML page that needs nothing else: no network, no script; light, dark and paper."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from crossflare.evaluation.significance import Interval
from crossflare.report import figures
from crossflare.report.collect import MACRO, Cell, Contrast, Results
from crossflare.report.methods import descriptions
from crossflare.report.sections import environment, sections, summary
from crossflare.report.tables import MINUS, Grid, column_name, contrasts, metric_name, metric_title, scores, to_latex

CURVES = {"dev_score": "dev score, in points", "dev_loss": "dev loss", "loss": "training loss"}


@dataclass(frozen=True, slots=True)
class Figure:
    """One drawing with the words above it."""

    title: str
    svg: str


def render(results: Results) -> str:
    """Return the page.

    Raises:
        UserError: The extra `report` is not installed.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise figures.MissingExtraError("jinja2") from error
    templates = Environment(
        loader=PackageLoader("crossflare.report", "templates"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    main, *others = results.metrics
    trained = [method for method in results.folder.methods if _has(results, method)]
    pens = figures.pens(trained, results.subject)
    return templates.get_template("report.html.j2").render(
        folder=results.folder,
        subject=results.subject,
        reference=results.reference,
        environment=environment(results),
        summary=summary(results),
        metric=metric_title(main),
        methods=descriptions(results),
        main=scores(results, main),
        main_figures=_score_figures(results, main),
        contrasts=contrasts(results, main) if results.subject else None,
        contrast_figures=_contrast_figures(results, main),
        others=[_other(results, metric) for metric in others],
        curves={CURVES[value]: drawn for value in CURVES if (drawn := _curve_figures(results, value, pens))},
        pens=list(pens.items()),
        sections=sections(results),
        latex=to_latex(scores(results, main)),
        signatures=[
            (metric_name(cell.metric), cell.method, column_name(cell.language), str(cell.signature))
            for cell in results.cells.values()
            if cell.signature
        ],
    )


def _other(results: Results, metric: str) -> tuple[str, Grid, Grid | None]:
    return metric_title(metric), scores(results, metric), contrasts(results, metric) if results.subject else None


def _score_figures(results: Results, metric: str) -> list[Figure]:
    """Return a figure for each column: every method with its interval and its seeds."""
    found = {
        column: [_score_row(results, metric, method, column) for method in results.folder.methods]
        for column in results.columns
    }
    limits = (0.0, _limits([row for rows in found.values() for row in rows])[1])
    drawn: list[Figure] = []
    for index, (column, rows) in enumerate(found.items()):
        reference = next((row.value for row in rows if row.name == results.reference), None)
        label = f"{metric_name(metric)}, points"
        svg = figures.intervals(f"score{index}", rows, label, limits, reference=reference)
        drawn.append(Figure(_title(results, column), svg))
    return drawn


def _score_row(results: Results, metric: str, method: str, column: str) -> figures.Row:
    cell = results.cells[metric, method, column]
    dots = tuple(100 * value for value in cell.by_seed)
    return replace(_row(method, cell.score, cell), dots=dots, strong=method == results.subject)


def _row(name: str, found: Interval | None, of: Cell | Contrast) -> figures.Row:
    """Return a row of an interval figure, in points, or why there is no value."""
    if found is None:
        return figures.Row(name, None, gap=of.gap if of.left_out else "missing")
    return figures.Row(name, 100 * found.score, 100 * found.low, 100 * found.high)


def _contrast_figures(results: Results, metric: str) -> list[Figure]:
    """Return a figure for each column: the subject less every other method, about zero."""
    found: dict[str, list[figures.Row]] = {column: [] for column in results.contrasted(metric)}
    for (_, method, column), contrast in results.contrasts.items():
        if contrast.metric == metric and column in found:
            row = _row(f"{MINUS} {method}", contrast.difference, contrast)
            found[column].append(replace(row, strong=bool(contrast.difference and contrast.difference.clear)))
    limits = _limits([figures.Row("", 0.0), *(row for rows in found.values() for row in rows)])
    label = f"difference in {metric_name(metric)}, points"
    return [
        Figure(_title(results, column), figures.intervals(f"less{index}", rows, label, limits, reference=0.0))
        for index, (column, rows) in enumerate(found.items())
        if rows
    ]


def _curve_figures(results: Results, value: str, pens: Mapping[str, figures.Pen]) -> list[Figure]:
    """Return a figure for each language: a line per method (mean over seeds), its seeds behind it."""
    drawn: list[Figure] = []
    for index, language in enumerate(results.folder.languages):
        lines: list[figures.Line] = []
        for method, pen in pens.items():
            seeds = [_curve(run.record.training.get("curve", []), value) for run in results.folder.of(method, language)]
            seeds = [points for points in seeds if points]
            steps = [tuple(points) for points in seeds]
            # a mean over seeds means something only where all of them were measured
            shared = [step for step in (steps[0] if steps else ()) if all(step in points for points in seeds)]
            if len(seeds) > 1:
                lines += [figures.Line(tuple(points), tuple(points.values()), pen, faint=True) for points in seeds]
            mean = tuple(sum(points[step] for points in seeds) / len(seeds) for step in shared)
            lines += [figures.Line(tuple(shared), mean, pen)] if shared else []
        if lines:
            drawn.append(Figure(language, figures.curves(f"{value}{index}", lines, "step", CURVES[value])))
    return drawn


def _curve(points: Sequence[Any], value: str) -> dict[float, float]:
    """Return step -> value, scores in points."""
    scale = 100 if value == "dev_score" else 1
    return {float(point["step"]): scale * float(point[value]) for point in points if point.get(value) is not None}


def _has(results: Results, method: str) -> bool:
    runs = (run for language in results.folder.languages for run in results.folder.of(method, language))
    return any(run.record.training.get("curve") for run in runs)


def _limits(rows: Sequence[figures.Row]) -> tuple[float, float]:
    """Return axis limits that hold every interval and dot, with a little air."""
    values = [value for row in rows if row.value is not None for value in (row.value, row.low, row.high, *row.dots)]
    low, high = (min(values), max(values)) if values else (0.0, 100.0)
    air = max(0.06 * (high - low), 0.5)
    return low - air, high + air


def _title(results: Results, column: str) -> str:
    return f"mean of {len(results.folder.languages)} languages" if column == MACRO else column
