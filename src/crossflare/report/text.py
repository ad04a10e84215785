"""The report's tables as text: Markdown for people, CSV for other programs, LaTeX for papers."""

import csv
import io
from collections.abc import Iterator

from crossflare.report.results import Results
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
