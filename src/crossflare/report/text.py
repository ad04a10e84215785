"""The report's tables as text: for a terminal, as Markdown, CSV and LaTeX."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import replace

from rich.box import HEAVY_HEAD, SIMPLE_HEAD, Box
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from crossflare.report.results import Results
from crossflare.report.summary import summary
from crossflare.report.tables import (
    BETTER,
    DASH,
    MAYBE_BETTER,
    MAYBE_WORSE,
    MINUS,
    WORSE,
    Entry,
    Grid,
    contrasts,
    scores,
    seeds_text,
)


def to_markdown(grid: Grid) -> str:
    """Return a Markdown table with its legend under it."""
    lines = ["| " + " | ".join(map(_escape, grid.head)) + " |", "|---" + "|---:" * (len(grid.head) - 1) + "|"]
    for heading, rows in grid.blocks():
        lines += [f"| *{heading}* |" + " |" * (len(grid.head) - 1)] if heading else []
        lines += ["| " + " | ".join([_escape(name), *map(_markdown, entries)]) + " |" for name, entries in rows]
    return "\n".join([*lines, "", grid.legend]).rstrip() + "\n"


def to_csv(results: Results) -> str:
    """Return every score, one row each, with its interval, its difference to the reference, and its signature."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["metric", "method", "language", "score", "low", "high", "seeds", "missing_seeds", "less_reference",
         "less_reference_low", "less_reference_high", "less_reference_p", "less_reference_p_permutation",
         "less_reference_q", "gap", "signature"]
    )  # fmt: skip
    for cell in results.cells.values():
        score = (cell.score.score, cell.score.low, cell.score.high) if cell.score else ("", "", "")
        less = cell.against
        row = (less.score, less.low, less.high, less.p) if less else ("", "", "", "")
        row = (*row, *("" if each is None else each for each in (cell.tested and cell.tested.p, cell.q)))
        seeds = (seeds_text(cell.seeds), seeds_text(cell.missing))
        writer.writerow([cell.metric, cell.method, cell.language, *score, *seeds, *row, cell.gap, cell.signature or ""])
    return text.getvalue()


def _markdown(entry: Entry) -> str:
    number = f"**{_escape(entry.text)}**" if entry.best else _escape(entry.text)
    mark = f" {entry.mark}" if entry.mark else ""
    return number + mark + "".join(f"<br>{_escape(line)}" for line in entry.small)


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")


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
        small: Whether the small print of each cell (its interval) stands beside the number.
    """
    width = len(grid.head)
    lines = [r"\begin{tabular}{l" + "r" * (width - 1) + "}", r"\toprule"]
    lines.append(" & ".join(map(escape, grid.head)) + r" \\")
    for heading, rows in grid.blocks():
        lines.append(r"\midrule")
        lines += [rf"\multicolumn{{{width}}}{{l}}{{\emph{{{escape(heading)}}}}} \\"] if heading else []
        lines += [" & ".join([escape(name), *(_cell(entry, small) for entry in row)]) + r" \\" for name, row in rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def report_tables(results: Results) -> str:
    """Return the main table and the differences as floats, with intervals: for a paper to take in."""
    return "% Needs \\usepackage{booktabs}; wide tables may want \\resizebox or a landscape page.\n" + "\n".join(
        _float(grid, label) for grid, label in _grids(results)
    )


def escape(text: str) -> str:
    """Return a text as LaTeX prints it."""
    return "".join(_SPECIAL.get(sign, sign) for sign in text)


def _grids(results: Results) -> Iterator[tuple[Grid, str]]:
    for metric in results.metrics:
        yield scores(results, metric), f"tab:{results.folder.name}-{metric}"
        less = contrasts(results, metric)
        if less.rows:
            yield less, f"tab:{results.folder.name}-{metric}-differences"


def _float(grid: Grid, label: str) -> str:
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
