"""The overview of a grid: every method in every cell, in addition to the cells' own reports."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote

from rich.console import Group
from rich.text import Text

from crossflare.disk.files import write_if_new
from crossflare.disk.storage import sweep
from crossflare.errors import UserError
from crossflare.evaluation.folder import CELLS, RunFiles
from crossflare.evaluation.significance import Interval
from crossflare.experiment.running.board import Failure, load_failures
from crossflare.progress import track
from crossflare.report.build import build_report
from crossflare.report.figures import MissingExtraError
from crossflare.report.grid import Entry, Grid, points, span, to_markdown, to_terminal
from crossflare.report.over_cells import CellDifferences, difference_figures, differences_grid
from crossflare.report.page import render_template
from crossflare.report.tables import metric_name

LEGEND = (
    "The mean over languages and seeds in points; under it the 95 % interval of the cell's own report. Bold: best of a "
    "cell. Rank: the mean over cells of a method's place, 1 the best, among those that the cells' reports rank."
)


@dataclass(frozen=True, slots=True)
class CellScores:
    """The overall numbers of the methods in the report of one cell."""

    name: str
    metric: str = ""
    """The main metric of its task; empty where nothing has run."""
    scores: Mapping[str, Interval] = field(default_factory=dict[str, Interval])
    gaps: Mapping[str, str] = field(default_factory=dict[str, str])
    """Method -> why it has no score."""
    ranked: frozenset[str] = frozenset()
    """The methods that take part in a ranking."""
    less: CellDifferences | None = None
    """The differences to its reference; None where nothing has run."""
    note: str = ""
    """Why it has no page."""

    @property
    def ranks(self) -> dict[str, float]:
        """The rank of each method by its score; equal ones share their rank."""
        found = {method: _rounded(score) for method, score in self.scores.items() if method in self.ranked}
        every = sorted(found.values(), reverse=True)
        return {method: every.index(score) + (every.count(score) + 1) / 2 for method, score in found.items()}


@dataclass(frozen=True, slots=True)
class Overview:
    """The overview of a grid, and the place of its files."""

    markdown: Path
    html: Path | None
    """None: the extra `report` is not installed."""
    table: Group
    """The table for the terminal."""
    note: str = ""
    """Why there is no page."""


def is_grid(folder: Path) -> bool:
    """Whether a folder holds the cells of a grid."""
    return RunFiles(folder).grid.is_file()


def build_overview(top: Path) -> Overview:
    """Write the report of every cell that has results, and for the whole grid report.md and report.html.

    Raises:
        UserError: The folder is not a grid, no cell has results, or a file of a cell is damaged.
    """
    files = RunFiles(top)
    grid = files.read_grid()
    names = [str(cell["name"]) for cell in grid["cells"]]
    cells = [_scores(files.cell(name)) for name in track(names, "reports", len(names))]
    if not any(cell.metric for cell in cells):
        raise UserError(f"{top}: expected finished runs in {CELLS}/, found none; run the recipe first")
    failures = list(load_failures(top).values())
    table = overview_grid(grid["name"], cells, failures)
    folded = replace(table, head=tuple(name.replace(",", "\n") for name in table.head))
    shown = Group(Text(table.title, style="italic"), to_terminal(folded), Text(table.legend, style="dim"))
    markdown, html = top / "report.md", top / "report.html"
    sweep(top)
    less = _differences(cells)
    write_if_new(markdown, _text(grid["name"], table, less, cells, failures))
    note = next((cell.note for cell in cells if cell.note), "")
    try:
        write_if_new(html, _page(grid["name"], table, less, cells, failures))
    except MissingExtraError as error:
        html.unlink(missing_ok=True)
        return Overview(markdown, None, shown, str(error))
    return Overview(markdown, html, shown, note)


def overview_grid(name: str, cells: Sequence[CellScores], failures: Sequence[Failure]) -> Grid:
    """Return methods by cells; a cell without a score says why, and failures are marked."""
    failed: dict[tuple[str, str], list[str]] = defaultdict(list)
    for failure in failures:
        for stopped in failure.stops:
            failed[str(stopped["cell"]), str(stopped["method"])].append(failure.error)
    methods = list(dict.fromkeys(method for cell in cells for method in (*cell.scores, *cell.gaps)))
    methods += sorted({method for _, method in failed} - set(methods))
    ranks = {method: [cell.ranks[method] for cell in cells if method in cell.ranks] for method in methods}
    rows = tuple(
        (
            method,
            (_rank(ranks[method], len(cells)), *(_entry(cell, method, failed[cell.name, method]) for cell in cells)),
        )
        for method in methods
    )
    metrics = {cell.metric for cell in cells if cell.metric}
    title = f"{metric_name(next(iter(metrics)))} in" if len(metrics) == 1 else "main metric of each task, in"
    return Grid(f"{name}: {title} points", ("method", "rank", *(cell.name for cell in cells)), rows, LEGEND)


def _scores(cell: RunFiles) -> CellScores:
    """Write the report of a cell and return its main numbers."""
    folder = cell.folder
    if not cell.records:
        return CellScores(folder.name)
    report = build_report(folder)
    results = report.results
    metric = results.metrics[0]
    whole = {method: results.cells[metric, method, results.overall] for method in results.folder.methods}
    scores = {method: cell.score for method, cell in whole.items() if cell.score is not None}
    ranked = {method for name, method in results.ranks if name == metric}
    gaps = {method: cell.gap for method, cell in whole.items() if cell.score is None}
    ranks = frozenset(ranked or scores)
    return CellScores(folder.name, metric, scores, gaps, ranks, CellDifferences.of(results), report.note)


def _differences(cells: Sequence[CellScores]) -> list[Grid]:
    """Return a table for each reference that cells have in common."""
    found = [cell.less for cell in cells if cell.less is not None]
    grids = (differences_grid(found, each) for each in dict.fromkeys(cell.reference for cell in found if cell.found))
    return [grid for grid in grids if grid is not None]


def _entry(cell: CellScores, method: str, errors: Sequence[str]) -> Entry:
    found, gap = cell.scores.get(method), cell.gaps.get(method, "not run" if not cell.metric else "not in recipe")
    failed = f"{len(errors)} failed" if errors else ""
    if found is None:
        return Entry("failed" if errors else gap, note=errors[0] if errors else gap, empty=True)
    best = _rounded(found) == max(map(_rounded, cell.scores.values()))
    return Entry(
        points(found.score), (span(found), *([failed] if failed else [])), best, note=errors[0] if errors else ""
    )


def _rounded(score: Interval) -> float:
    """Return a mean, rounded so that means which differ only by rounding are equal."""
    return round(score.score, 9)


def _rank(places: Sequence[float], cells: int) -> Entry:
    if not places:
        return Entry("–", empty=True)
    some = (f"{len(places)} of {cells} cells",) if len(places) < cells else ()
    return Entry(f"{sum(places) / len(places):.1f}", some)


def _failed(failures: Sequence[Failure]) -> list[str]:
    return [f"{each.kind} {each.label}, {each.minute}: {each.error}" for each in failures]


def _text(
    name: str, table: Grid, less: Sequence[Grid], cells: Sequence[CellScores], failures: Sequence[Failure]
) -> str:
    links = [f"- [{cell.name}]({_place(cell, 'md')})" for cell in cells if cell.metric]
    parts = [f"# {name}", to_markdown(table)]
    parts += [f"## Differences: {grid.title}\n\n{to_markdown(grid)}" for grid in less]
    parts += ["## Reports of the cells", "\n".join(links)]
    if failures:
        parts += ["## Failed", "\n".join(f"- {line}" for line in _failed(failures))]
    return "\n\n".join(parts).rstrip() + "\n"


def _page(
    name: str, table: Grid, less: Sequence[Grid], cells: Sequence[CellScores], failures: Sequence[Failure]
) -> str:
    found = [cell.less for cell in cells if cell.less is not None]
    references = dict.fromkeys(cell.reference for cell in found)
    return render_template(
        "overview.html.j2",
        name=name,
        grid=replace(table, legend=f"{table.legend} The names of cells lead to their reports."),
        links={cell.name: _place(cell, "html") for cell in cells if cell.metric},
        less=less,
        figures=[figure for each in references for figure in difference_figures(found, each)] if less else [],
        failed=_failed(failures),
        facts={
            "cells": len(cells),
            "with results": sum(bool(cell.metric) for cell in cells),
            "methods": len(table.rows),
            "failed steps": len(failures),
        },
    )


def _place(cell: CellScores, suffix: str) -> str:
    return f"{CELLS}/{quote(cell.name, safe=',+')}/report.{suffix}"
