"""The report's tables as text: Markdown for people, CSV for other programs."""

import csv
import io

from crossflare.report.results import Results
from crossflare.report.tables import Entry, Grid, seeds_text


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
