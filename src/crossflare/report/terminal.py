"""The main table as a terminal shows it: whole where it fits, else closer together, else its first column."""

from collections.abc import Sequence
from dataclasses import replace

from rich.box import HEAVY_HEAD, SIMPLE_HEAD, Box
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from crossflare.report.results import Results
from crossflare.report.summary import summary
from crossflare.report.tables import DASH, Entry, Grid, scores

WIDEST = 10_000
"""Characters: no table is wider."""


def console_table(results: Results) -> Group:
    """Return the table of the main metric for the terminal, and its legend."""
    grid = scores(results, results.metrics[0])
    subject = results.subject
    ways = (_table(grid, subject), _table(_closer(grid), subject, SIMPLE_HEAD), _table(_first(grid), subject))
    warnings = [Text(f"! {warning}", style="yellow") for warning in summary(results).warnings]
    title = Text(f"{results.folder.name}: {grid.title}", style="italic")
    return Group(title, _Fitting(ways), *warnings, Text(grid.legend, style="dim"))


class _Fitting:
    """The first of several tables that is no wider than the terminal; failing that the last, and where the rest is."""

    def __init__(self, ways: Sequence[Table]) -> None:
        self.ways = ways
        self.cut = len(ways[-1].columns) < len(ways[0].columns)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        room = options.update(max_width=WIDEST)
        for table in self.ways[:-1]:
            if Measurement.get(console, room, table).maximum <= options.max_width:
                yield table
                return
        yield self.ways[-1]
        if self.cut:
            yield Text("Too narrow here for the other columns: see report.md.", style="dim")


def _closer(grid: Grid) -> Grid:
    """Return the table with marks beside their numbers and each interval on two lines."""

    def closer(entry: Entry) -> Entry:
        small = tuple(line.replace(DASH, f"{DASH}\n") for line in entry.small)
        return replace(entry, text=entry.text + entry.mark, mark="", small=small)

    return replace(grid, rows=tuple((name, tuple(map(closer, entries))) for name, entries in grid.rows))


def _first(grid: Grid) -> Grid:
    """Return the table with its first column alone."""
    return replace(grid, head=grid.head[:2], rows=tuple((name, entries[:1]) for name, entries in grid.rows))


def _table(grid: Grid, subject: str | None, box: Box = HEAVY_HEAD) -> Table:
    several = len(list(grid.blocks())) > 1
    close = box is SIMPLE_HEAD
    table = Table(box=box, show_lines=not several, collapse_padding=close, pad_edge=not close)
    for index, name in enumerate(grid.head):
        table.add_column(Text(name), justify="right" if index else "left", no_wrap=True)
    for heading, rows in grid.blocks():
        if heading:
            table.add_section()
            table.add_row(Text(heading, style="italic dim"))
        for name, entries in rows:
            table.add_row(Text(name, style="bold" if name == subject else ""), *map(_shown, entries))
    return table


def _shown(entry: Entry) -> Text:
    text = Text(entry.text + (f" {entry.mark}" if entry.mark else ""), style="bold" if entry.best else "")
    for line in entry.small:
        text.append(f"\n{line}", style="dim not bold")
    return text
