"""The main tables of a report: scores, and differences of the subject to every other method."""

from collections.abc import Callable, Iterable, Sequence

from crossflare.report.grid import (
    BETTER,
    DASH,
    MAYBE_BETTER,
    MAYBE_WORSE,
    MINUS,
    WORSE,
    Entry,
    Grid,
    p_text,
    points,
    span,
    text_entry,
)
from crossflare.report.methods import grouped, upper_bounds
from crossflare.report.results import Contrast, MethodScore, Results
from crossflare.report.runs import MACRO

METRIC_NAMES = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "weighted_f1": "weighted F1",
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
"""What a reader must know about a metric that differs in kind from the metrics next to it."""
ALPHA = 0.05
_FITS = 32
"""How many characters of a reason a cell can hold."""


def metric_name(metric: str) -> str:
    """Return a metric's name as people write it in a sentence."""
    return METRIC_NAMES.get(metric, metric)


def metric_title(metric: str) -> str:
    """Return a metric's name as the title of a table."""
    return METRIC_TITLES.get(metric, metric_name(metric))


def scores(results: Results, metric: str) -> Grid:
    """Return methods by languages; a column's best is `best`, and clear differences from the reference are marked."""
    best = {column: _best(results, metric, column) for column in results.columns}
    groups = grouped(results.folder)
    ranked = any(name == metric for name, _ in results.ranks)
    head = [column_name(column) for column in results.columns]
    rows: list[tuple[str, tuple[Entry, ...]]] = []
    for method in groups:
        cells = [_score(results.cells[metric, method, column], best[column], results) for column in results.columns]
        if ranked:  # next to the mean, which is first: both summarise a method
            cells.insert(1, _rank(results, metric, method))
        rows.append((method, tuple(cells)))
    marks = (
        f" {BETTER} {WORSE} better or worse than {results.reference}: the interval of the paired difference excludes "
        f"0, and so does a permutation test corrected for the number of languages (q < {ALPHA}). {MAYBE_BETTER} "
        f"{MAYBE_WORSE}: the interval alone."
    )
    return Grid(
        f"{metric_title(metric)}, in points",
        ("method", *head[:1], *(["rank"] if ranked else []), *head[1:]),
        tuple(rows),
        f"Mean over seeds; under it the 95 % interval over test examples{_and_seeds(results)}. Bold: best of a column."
        + (marks if results.reference else "")
        + (RANK_NOTE if ranked else "")
        + (f" {METRIC_NOTES[metric]}" if metric in METRIC_NOTES else "")
        + _notes(rows),
        groups,
    )


RANK_NOTE = (
    " Rank: mean over languages of a method's place, 1 the best, with its interval; controls, upper bounds and what "
    "was not run everywhere have none."
)


def contrasts(results: Results, metric: str) -> Grid:
    """Return the subject minus each other method, by languages."""
    groups = {f"{MINUS} {method}": group for method, group in grouped(results.folder).items()}
    columns = results.contrasted(metric)
    rows = tuple(
        (f"{MINUS} {method}", tuple(_contrast(results.contrasts[metric, method, column]) for column in columns))
        for method in grouped(results.folder)
        if results.subject and method != results.subject and columns
    )
    refused = dict.fromkeys(each.tested.refusal for each in results.contrasts.values() if each.tested)
    return Grid(
        f"{results.subject} less each other method: {metric_name(metric)}, in points",
        (f"{results.subject} …", *map(column_name, columns)),
        rows,
        f"95 % interval over test examples{_and_seeds(results)}, resampled alike for both; bold where it excludes 0. "
        "p: paired permutation test over the test examples, two-sided, for the trained models as they are. q: that p "
        "corrected for the number of languages (Benjamini–Hochberg, row by row)."
        + (" A small p beside an interval that holds 0: another seed may turn the result." * _several(results))
        + (" McNemar: exact." if any("McNemar" in line for _, es in rows for e in es for line in e.small) else "")
        + "".join(f" No test of the mean: {why}." for why in refused if why)
        + _notes(rows),
        groups,
    )


SCORE_COLUMNS = (
    "metric", "method", "language", "score", "low", "high", "seeds", "missing_seeds", "less_reference",
    "less_reference_low", "less_reference_high", "less_reference_p", "less_reference_p_permutation",
    "less_reference_q", "gap", "signature",
)  # fmt: skip


def score_list(results: Results) -> Grid:
    """Return every score in a row with its interval, its difference from the reference, and its signature.

    Numbers have all their digits, between 0 and 1: the list is for programs.
    """
    rows: list[tuple[str, tuple[Entry, ...]]] = []
    for cell in results.cells.values():
        less, tested = cell.against, cell.tested
        values = [
            cell.method,
            cell.language,
            *((cell.score.score, cell.score.low, cell.score.high) if cell.score else (None,) * 3),
            seeds_text(cell.seeds),
            seeds_text(cell.missing),
            *((less.score, less.low, less.high, less.p) if less else (None,) * 4),
            tested.p if tested else None,
            cell.q,
            cell.gap,
            cell.signature,
        ]
        rows.append((cell.metric, tuple(Entry("" if value is None else str(value)) for value in values)))
    return Grid("every score", SCORE_COLUMNS, tuple(rows))


def _several(results: Results) -> bool:
    return len(results.folder.seeds) > 1


def _and_seeds(results: Results) -> str:
    return " and seeds" if _several(results) else " alone (one seed)"


def column_name(language: str) -> str:
    """Return the head of a language's column."""
    return "mean" if language == MACRO else language


def matrix(title: str, corner: str, results: Results, cell: Callable[[str, str], str], legend: str = "") -> Grid:
    """Return methods by languages of plain text; an empty text is shown as missing."""
    languages = results.folder.languages
    rows = tuple((name, tuple(text_entry(cell(name, each)) for each in languages)) for name in grouped(results.folder))
    return Grid(title, (corner, *results.folder.languages), rows, legend)


def _best(results: Results, metric: str, column: str) -> str:
    """Return the highest score of a column as shown: methods that look equal are all the best; a single one is not.

    An upper bound is never the best: it sees texts which real applications do not have.
    """
    rivals = [method for method in results.folder.methods if method not in upper_bounds(results.folder)]
    found = [each for method in rivals if (each := results.cells[metric, method, column].score)]
    return max((points(each.score) for each in found), key=float) if len(found) > 1 else ""


def _score(cell: MethodScore, best: str, results: Results) -> Entry:
    if cell.score is None:
        return _gap(cell)
    total = len(results.folder.seeds)
    few = (f"{len(cell.seeds)} of {total} seeds",) if cell.missing else ()
    text = points(cell.score.score)
    note = f"no run with seed {seeds_text(cell.missing)}" if cell.missing else ""
    first = text == best and cell.method not in upper_bounds(results.folder)
    return Entry(text, (span(cell.score), *few), best=first, mark=_mark(cell), note=note)


def _mark(cell: MethodScore) -> str:
    """Return a mark for how a score compares with the reference, where the interval shows a difference."""
    if cell.against is None or not cell.against.clear:
        return ""
    sure = cell.q is None or cell.q < ALPHA
    return (BETTER if sure else MAYBE_BETTER) if cell.against.score > 0 else (WORSE if sure else MAYBE_WORSE)


def _rank(results: Results, metric: str, method: str) -> Entry:
    rank = results.ranks.get((metric, method))
    if rank is None:
        return Entry(DASH, empty=True)
    return Entry(f"{rank.score:.1f}", (f"{rank.low:.1f}{DASH}{rank.high:.1f}",))


def _contrast(contrast: Contrast) -> Entry:
    found = contrast.difference
    if found is None:
        return _gap(contrast)
    tested = contrast.tested
    lines = [f"p {p_text(tested.p)}"] if tested and tested.p is not None else []
    lines += [f"q {p_text(contrast.q)}"] if contrast.q is not None else []
    small = (span(found, signed=True), *lines)
    small += (f"McNemar {p_text(tested.mcnemar)}",) if tested and tested.mcnemar is not None else ()
    return Entry(points(found.score, signed=True), small, best=found.clear)


def _gap(lacking: MethodScore | Contrast) -> Entry:
    """Return the cell of a missing number: a dash where the recipe asks for none, and always the reason."""
    text = DASH if lacking.left_out else "missing"
    return Entry(text, (_brief(lacking.gap),), note=lacking.gap, empty=True)


def _brief(gap: str) -> str:
    """Return a reason that fits into a cell; longer ones stand under the table."""
    return gap if len(gap) < _FITS else "see below"


def _notes(rows: Iterable[tuple[str, tuple[Entry, ...]]]) -> str:
    notes = dict.fromkeys(e.note for _, entries in rows for e in entries if e.empty and len(e.note) >= _FITS)
    return "".join(f" Missing: {note}." for note in notes)


def seeds_text(seeds: Sequence[int]) -> str:
    """Return seeds as a list of numbers."""
    return " ".join(map(str, seeds))
