"""A table as data, its numbers as text, and the table as Markdown, CSV, LaTeX and on a terminal.

This module does not know what a table is about, and computes no number.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from rich.box import HEAVY_HEAD, SIMPLE_HEAD, Box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from crossflare.evaluation.significance import Interval

BETTER, WORSE = "▲", "▼"
MAYBE_BETTER, MAYBE_WORSE = "△", "▽"
MINUS, DASH = "−", "–"


@dataclass(frozen=True, slots=True)
class Entry:
    """One cell: a number with the small print under it."""

    text: str
    small: tuple[str, ...] = ()
    best: bool = False
    mark: str = ""
    note: str = ""
    """Why something is missing."""
    empty: bool = False


def text_entry(text: str) -> Entry:
    """Return a cell of plain text; a cell without text has a dash and counts as empty."""
    return Entry(text or DASH, empty=not text)


@dataclass(frozen=True, slots=True)
class Grid:
    """One table."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Entry, ...]], ...]
    legend: str = ""
    groups: Mapping[str, str] = field(default_factory=dict[str, str])
    """Name of a row -> heading of its group; rows of one group stand together."""

    def blocks(self) -> Iterator[tuple[str, list[tuple[str, tuple[Entry, ...]]]]]:
        """Yield each group's heading with its rows; one group without a heading where there are none."""
        for heading, rows in groupby(self.rows, lambda row: self.groups.get(row[0], "")):
            yield heading, list(rows)


def points(value: float, *, signed: bool = False) -> str:
    """Return a score in points of a hundred with one decimal; differences carry their sign."""
    text = f"{100 * abs(value):.1f}"
    sign = "" if text == "0.0" else MINUS if value < 0 else "+" if signed else ""
    return sign + text


def span(found: Interval, *, signed: bool = False) -> str:
    """Return an interval as `69.8–72.5`, or `[+0.2, +1.9]` for a difference."""
    low, high = points(found.low, signed=signed), points(found.high, signed=signed)
    return f"[{low}, {high}]" if signed else f"{low}{DASH}{high}"


def p_text(p: float) -> str:
    """Return a p-value to three decimals."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def to_markdown(grid: Grid) -> str:
    """Return a Markdown table with its legend under it."""
    lines = ["| " + " | ".join(map(_escape, grid.head)) + " |", "|---" + "|---:" * (len(grid.head) - 1) + "|"]
    for heading, rows in grid.blocks():
        lines += [f"| *{heading}* |" + " |" * (len(grid.head) - 1)] if heading else []
        lines += ["| " + " | ".join([_escape(name), *map(_markdown, entries)]) + " |" for name, entries in rows]
    return "\n".join([*lines, "", grid.legend]).rstrip() + "\n"


def to_csv(grid: Grid) -> str:
    """Return the table's heads and cells as comma-separated values, without its title, legend and groups."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(grid.head)
    writer.writerows([name, *(entry.text for entry in entries)] for name, entries in grid.rows)
    return text.getvalue()


def _markdown(entry: Entry) -> str:
    number = f"**{_escape(entry.text)}**" if entry.best else _escape(entry.text)
    mark = f" {entry.mark}" if entry.mark else ""
    return number + mark + "".join(f"<br>{_escape(line)}" for line in entry.small)


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("\n", "<br>")


MARKS = {
    BETTER: r"$^{\uparrow}$",
    WORSE: r"$^{\downarrow}$",
    MAYBE_BETTER: r"$^{(\uparrow)}$",
    MAYBE_WORSE: r"$^{(\downarrow)}$",
}
_SPECIAL = {
    **{sign: "\\" + sign for sign in "&%$#_{}"},
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", MINUS: "$-$", DASH: "--", "…": r"\dots{}", "·": r"$\cdot$",
    "×": r"$\times$", **MARKS,
}  # fmt: skip


def to_latex(grid: Grid, *, small: bool = False) -> str:
    """Return a `tabular` for booktabs: the best in bold, groups under headings.

    Args:
        grid: The table.
        small: Whether the small print of each cell (its interval) stands next to the number.
    """
    width = len(grid.head)
    lines = [r"\begin{tabular}{l" + "r" * (width - 1) + "}", r"\toprule"]
    lines.append(" & ".join(map(escape, grid.head)) + r" \\")
    for heading, rows in grid.blocks():
        lines.append(r"\midrule")
        lines += [rf"\multicolumn{{{width}}}{{l}}{{\emph{{{escape(heading)}}}}} \\"] if heading else []
        lines += [" & ".join([escape(name), *(_cell(entry, small) for entry in row)]) + r" \\" for name, row in rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def escape(text: str) -> str:
    """Return a text as LaTeX prints it."""
    return "".join(_SPECIAL.get(sign, sign) for sign in text)


def to_latex_float(grid: Grid, label: str) -> str:
    """Return the table as a float with a caption and a label, its small print next to the numbers."""
    name = "".join(sign if sign.isascii() and (sign.isalnum() or sign in ":-") else "-" for sign in label)
    caption = escape(f"{grid.title[0].upper()}{grid.title[1:]}. {grid.legend}")
    return (
        f"\\begin{{table*}}\n\\centering\n\\small\n{to_latex(grid, small=True)}"
        f"\\caption{{{caption}}}\n\\label{{{name}}}\n\\end{{table*}}\n"
    )


def _cell(entry: Entry, small: bool) -> str:
    number = rf"\textbf{{{escape(entry.text)}}}" if entry.best else escape(entry.text)
    beside = rf" {{\scriptsize {escape(', '.join(entry.small))}}}" if small and entry.small else ""
    return number + MARKS.get(entry.mark, "") + beside


WIDEST = 10_000
"""A width in characters that no table exceeds."""


def to_terminal(grid: Grid, strong: str | None = None) -> "FittingTable":
    """Return the table for a terminal, in the widest form that fits.

    Args:
        grid: The table.
        strong: The name of the row that stands out.
    """
    return FittingTable(
        (_table(grid, strong), _table(_closer(grid), strong, SIMPLE_HEAD), _table(_first(grid), strong))
    )


class FittingTable:
    """Shows the first of several tables that fits; if none does, it shows the last and says where the rest is."""

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
    """Return the table with marks next to their numbers and each interval on two lines."""

    def closer(entry: Entry) -> Entry:
        small = tuple(line.replace(DASH, f"{DASH}\n") for line in entry.small)
        return replace(entry, text=entry.text + entry.mark, mark="", small=small)

    return replace(grid, rows=tuple((name, tuple(map(closer, entries))) for name, entries in grid.rows))


def _first(grid: Grid) -> Grid:
    """Return the table with its first column alone."""
    return replace(grid, head=grid.head[:2], rows=tuple((name, entries[:1]) for name, entries in grid.rows))


def _table(grid: Grid, strong: str | None, box: Box = HEAVY_HEAD) -> Table:
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
            table.add_row(Text(name, style="bold" if name == strong else ""), *map(_shown, entries))
    return table


def _shown(entry: Entry) -> Text:
    text = Text(entry.text + (f" {entry.mark}" if entry.mark else ""), style="bold" if entry.best else "")
    for line in entry.small:
        text.append(f"\n{line}", style="dim not bold")
    return text
