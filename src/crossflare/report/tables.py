"""The report's tables as plain values, and their Markdown, CSV and LaTeX."""

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from crossflare.evaluation.significance import Interval
from crossflare.report.collect import MACRO, Cell, Contrast, Results

METRIC_NAMES = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "exact_match": "exact match",
    "f1": "F1",
    "position_match": "position match",
}
METRIC_TITLES = {"exact_match": "Exact match", "position_match": "Position match (released code's measure)"}
METRIC_NOTES = {
    "position_match": "Position match is what the method's released code calls exact match: the start and end token "
    "are those of the label, looked for in the first window of each text alone. An answer that the window cuts off is "
    "labelled as the first token, and pointing there counts as right. It is not comparable with exact match, which "
    "compares texts."
}
"""What a reader must know of a metric that is not what its neighbours are."""
BETTER, WORSE = "▲", "▼"
MINUS, DASH = "−", "–"
_FITS = 32
"""Characters of a reason that a cell can hold."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One cell: a number with what stands under it."""

    text: str
    small: tuple[str, ...] = ()
    best: bool = False
    mark: str = ""
    note: str = ""
    """Why something is missing."""
    empty: bool = False


@dataclass(frozen=True, slots=True)
class Grid:
    """One table."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Entry, ...]], ...]
    legend: str = ""


def metric_name(metric: str) -> str:
    """Return a metric's name as people write it in a sentence."""
    return METRIC_NAMES.get(metric, metric)


def metric_title(metric: str) -> str:
    """Return a metric's name as it stands above a table."""
    return METRIC_TITLES.get(metric, metric_name(metric))


def points(value: float, *, signed: bool = False) -> str:
    """Return a score in points of a hundred with one decimal; differences carry their sign."""
    text = f"{100 * abs(value):.1f}"
    sign = "" if text == "0.0" else MINUS if value < 0 else "+" if signed else ""
    return sign + text


def span(found: Interval, *, signed: bool = False) -> str:
    """Return an interval as `69.8–72.5`, or `[+0.2, +1.9]` of a difference."""
    low, high = points(found.low, signed=signed), points(found.high, signed=signed)
    return f"[{low}, {high}]" if signed else f"{low}{DASH}{high}"


def p_text(p: float) -> str:
    """Return a p-value to three decimals."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def scores(results: Results, metric: str) -> Grid:
    """Return methods by languages; the best of a column is `best`, what clearly differs from the reference marked."""
    best = {column: _best(results, metric, column) for column in results.columns}
    rows = tuple(
        (
            method,
            tuple(_score(results.cells[metric, method, column], best[column], results) for column in results.columns),
        )
        for method in results.folder.methods
    )
    marks = (
        f" {BETTER} {WORSE} better or worse than {results.reference}: the interval of the paired difference excludes 0."
    )
    return Grid(
        f"{metric_title(metric)}, in points",
        ("method", *map(column_name, results.columns)),
        rows,
        "Mean over seeds; under it the 95 % interval over test examples and seeds. Best of a column in bold."
        + (marks if results.reference else "")
        + (f" {METRIC_NOTES[metric]}" if metric in METRIC_NOTES else "")
        + _notes(rows),
    )


def contrasts(results: Results, metric: str) -> Grid:
    """Return the subject less each other method, by languages."""
    others = [method for method in results.folder.methods if method != results.subject]
    columns = results.contrasted(metric)
    rows = tuple(
        (f"{MINUS} {method}", tuple(_contrast(results.contrasts[metric, method, column]) for column in columns))
        for method in others
        if results.subject and columns
    )
    return Grid(
        f"{results.subject} less each other method: {metric_name(metric)}, in points",
        (f"{results.subject} …", *map(column_name, columns)),
        rows,
        "The same test examples and seeds are resampled for both. 95 % interval; p two-sided; q is p corrected for the "
        "number of methods and languages (Benjamini–Hochberg). Bold: the interval excludes 0." + _notes(rows),
    )


def column_name(language: str) -> str:
    """Return the head of a language's column."""
    return "mean" if language == MACRO else language


def matrix(title: str, corner: str, results: Results, cell: Callable[[str, str], str], legend: str = "") -> Grid:
    """Return methods by languages of plain text; an empty text is shown as missing."""
    rows = tuple(
        (
            method,
            tuple(Entry(text or DASH, empty=not text) for text in (cell(method, x) for x in results.folder.languages)),
        )
        for method in results.folder.methods
    )
    return Grid(title, (corner, *results.folder.languages), rows, legend)


def to_markdown(grid: Grid) -> str:
    """Return a Markdown table with its legend under it."""
    lines = ["| " + " | ".join(map(_escape, grid.head)) + " |", "|---" + "|---:" * (len(grid.head) - 1) + "|"]
    for name, entries in grid.rows:
        lines.append("| " + " | ".join([_escape(name), *map(_markdown, entries)]) + " |")
    return "\n".join([*lines, "", grid.legend]).rstrip() + "\n"


def to_latex(grid: Grid) -> str:
    """Return a LaTeX tabular for booktabs: the best in bold, the small print left out."""
    lines = [r"\begin{tabular}{l" + "r" * (len(grid.head) - 1) + "}", r"\toprule"]
    lines += [" & ".join(map(_tex, grid.head)) + r" \\", r"\midrule"]
    for name, entries in grid.rows:
        cells = [rf"\textbf{{{_tex(entry.text)}}}" if entry.best else _tex(entry.text) for entry in entries]
        lines.append(" & ".join([_tex(name), *cells]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def to_csv(results: Results) -> str:
    """Return every score, one row each, with its interval, its difference to the reference, and its signature."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["metric", "method", "language", "score", "low", "high", "seeds", "missing_seeds", "less_reference",
         "less_reference_low", "less_reference_high", "less_reference_p", "gap", "signature"]
    )  # fmt: skip
    for cell in results.cells.values():
        score = (cell.score.score, cell.score.low, cell.score.high) if cell.score else ("", "", "")
        less = cell.against
        row = (less.score, less.low, less.high, less.p) if less else ("", "", "", "")
        seeds = (_seeds(cell.seeds), _seeds(cell.missing))
        writer.writerow([cell.metric, cell.method, cell.language, *score, *seeds, *row, cell.gap, cell.signature or ""])
    return text.getvalue()


def _best(results: Results, metric: str, column: str) -> str:
    """Return the highest score of a column as shown: methods that look equal are all the best; one alone is not."""
    found = [each for method in results.folder.methods if (each := results.cells[metric, method, column].score)]
    return max((points(each.score) for each in found), key=float) if len(found) > 1 else ""


def _score(cell: Cell, best: str, results: Results) -> Entry:
    if cell.score is None:
        return _gap(cell)
    total = len(results.folder.seeds)
    few = (f"{len(cell.seeds)} of {total} seeds",) if cell.missing else ()
    clear = cell.against is not None and cell.against.clear
    mark = "" if not clear or cell.against is None else BETTER if cell.against.score > 0 else WORSE
    text = points(cell.score.score)
    note = f"no run with seed {_seeds(cell.missing)}" if cell.missing else ""
    return Entry(text, (span(cell.score), *few), best=text == best, mark=mark, note=note)


def _contrast(contrast: Contrast) -> Entry:
    found = contrast.difference
    if found is None:
        return _gap(contrast)
    small = f"p {p_text(found.p)}" + (f" · q {p_text(contrast.q)}" if contrast.q is not None else "")
    return Entry(points(found.score, signed=True), (span(found, signed=True), small), best=found.clear)


def _gap(lacking: Cell | Contrast) -> Entry:
    """Return what stands where there is no number: a dash where the recipe asks for none, and always the reason."""
    text = DASH if lacking.left_out else "missing"
    return Entry(text, (_brief(lacking.gap),), note=lacking.gap, empty=True)


def _brief(gap: str) -> str:
    """Return a reason that fits into a cell; the long ones stand under the table."""
    return gap if len(gap) < _FITS else "see below"


def _notes(rows: Iterable[tuple[str, tuple[Entry, ...]]]) -> str:
    notes = dict.fromkeys(e.note for _, entries in rows for e in entries if e.empty and len(e.note) >= _FITS)
    return "".join(f" Missing: {note}." for note in notes)


def _seeds(seeds: Sequence[int]) -> str:
    return " ".join(map(str, seeds))


def _markdown(entry: Entry) -> str:
    number = f"**{_escape(entry.text)}**" if entry.best else _escape(entry.text)
    mark = f" {entry.mark}" if entry.mark else ""
    return number + mark + "".join(f"<br>{_escape(line)}" for line in entry.small)


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")


def _tex(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    escaped = "".join(special.get(c, "\\" + c if c in "&%$#_{}" else c) for c in text)
    return escaped.replace(MINUS, "$-$").replace(DASH, "--")
