"""One HTML page that needs nothing else: no network, no script; light, dark and paper."""

from collections.abc import Sequence
from dataclasses import replace

from crossflare.evaluation.significance import Interval
from crossflare.report import figures
from crossflare.report.calibration_tables import coverage_figures, coverage_legend
from crossflare.report.cost import DRAWN, detectable_grid, scatter_points
from crossflare.report.curves import curve_blocks
from crossflare.report.data import data_grids
from crossflare.report.examples import worst_examples
from crossflare.report.methods import GROUPED_FROM, descriptions, grouped
from crossflare.report.results import Contrast, MethodScore, Results
from crossflare.report.runs import MACRO
from crossflare.report.sections import LEAST, environment, sections
from crossflare.report.summary import summary
from crossflare.report.tables import MINUS, Grid, column_name, contrasts, metric_name, metric_title, scores
from crossflare.report.text import to_latex

SPREAD = 1.2
"""A cost is drawn when the dearest method has so many times that of the cheapest: others say nothing."""


def render_page(results: Results) -> str:
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
    return templates.get_template("report.html.j2").render(
        folder=results.folder,
        many=len(results.folder.methods) >= GROUPED_FROM,
        least=detectable_grid(results),
        subject=results.subject,
        reference=results.reference,
        environment=environment(results),
        summary=summary(results),
        data=data_grids(results.folder),
        metric=metric_title(main),
        methods=descriptions(results.folder),
        main=scores(results, main),
        main_figures=_score_figures(results, main),
        contrasts=contrasts(results, main) if results.subject else None,
        headline=_headline(results, main),
        contrast_figures=_contrast_figures(results, main),
        others=[_other(results, metric) for metric in others],
        curves=curve_blocks(results),
        sections=[section for section in sections(results) if section.title != LEAST],
        cost_figures=_cost_figures(results),
        coverage_legend=coverage_legend(results),
        coverage_figures=coverage_figures(results),
        examples=worst_examples(results),
        latex=to_latex(scores(results, main)),
        signatures=[
            (metric_name(cell.metric), cell.method, column_name(cell.language), str(cell.signature))
            for cell in results.cells.values()
            if cell.signature
        ],
    )


def _other(results: Results, metric: str) -> tuple[str, Grid, Grid | None]:
    return metric_title(metric), scores(results, metric), contrasts(results, metric) if results.subject else None


def _score_figures(results: Results, metric: str) -> list[figures.Figure]:
    """Return a figure for each column: every method with its interval and its seeds."""
    found = {
        column: [_score_row(results, metric, method, column) for method in grouped(results.folder)]
        for column in results.columns
    }
    limits = (0.0, _limits([row for rows in found.values() for row in rows])[1])
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


def _headline(results: Results, metric: str) -> figures.Figure | None:
    """Return the figure of subject less reference in every column; None where there are no two of them."""
    subject, reference = results.subject, results.reference
    if subject is None or reference is None or subject == reference or len(results.columns) < 2:
        return None
    rows: list[figures.IntervalRow] = []
    for column in results.contrasted(metric):
        contrast = results.contrasts[metric, reference, column]
        row = _row(column_name(column), contrast.difference, contrast)
        rows.append(replace(row, strong=bool(contrast.difference and contrast.difference.clear)))
    label = f"difference in {metric_name(metric)}, points"
    limits = _limits([figures.IntervalRow("", 0.0), *rows])
    title = f"{subject} {MINUS} {reference}, by language"
    return figures.Figure(title, figures.intervals("headline", rows, label, limits, reference=0.0)) if rows else None


def _contrast_figures(results: Results, metric: str) -> list[figures.Figure]:
    """Return a figure for each column: the subject less every other method, about zero."""
    found: dict[str, list[figures.IntervalRow]] = {column: [] for column in results.contrasted(metric)}
    places = [(method, column) for method in grouped(results.folder) for column in found if method != results.subject]
    for method, column in places:
        if contrast := results.contrasts.get((metric, method, column)):
            row = _row(f"{MINUS} {method}", contrast.difference, contrast)
            found[column].append(replace(row, strong=bool(contrast.difference and contrast.difference.clear)))
    limits = _limits([figures.IntervalRow("", 0.0), *(row for rows in found.values() for row in rows)])
    label = f"difference in {metric_name(metric)}, points"
    return [
        figures.Figure(_title(results, column), figures.intervals(f"less{index}", rows, label, limits, reference=0.0))
        for index, (column, rows) in enumerate(found.items())
        if rows
    ]


def _cost_figures(results: Results) -> list[figures.Figure]:
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


def _limits(rows: Sequence[figures.IntervalRow]) -> tuple[float, float]:
    """Return axis limits that hold every interval and dot, with a little air."""
    values = [value for row in rows if row.value is not None for value in (row.value, row.low, row.high, *row.dots)]
    low, high = (min(values), max(values)) if values else (0.0, 100.0)
    air = max(0.06 * (high - low), 0.5)
    return low - air, high + air


def _title(results: Results, column: str) -> str:
    return f"mean of {len(results.folder.languages)} languages" if column == MACRO else column
