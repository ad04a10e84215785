"""The tables behind the scores: single labels, calibration, cost, detectable differences, and translations."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

from crossflare.evaluation.calibration import COLDEST, HOTTEST
from crossflare.evaluation.predictions import AnswerPredictions
from crossflare.evaluation.record import Record
from crossflare.evaluation.significance import Interval
from crossflare.report.details import PerLabel, Power
from crossflare.report.grid import DASH, Entry, Grid, points, span, text_entry
from crossflare.report.methods import grouped
from crossflare.report.results import Results
from crossflare.report.tables import column_name, metric_name

MOST = 12
"""The most labels for which there is a table of which label was taken for which."""


def label_grids(results: Results) -> tuple[Grid, ...]:
    """Return for the best methods in each language the scores of labels, and which label was taken for which."""
    found: list[Grid] = []
    for (method, language), each in results.per_label.items():
        found.append(_label_scores(f"{method} in {language}: each label, in points", each))
        if len(each.names) <= MOST:
            found.append(_taken_for(f"{method} in {language}: label (rows) and prediction (columns)", each))
    return tuple(found)


def _label_scores(title: str, found: PerLabel) -> Grid:
    rows = tuple(
        (
            found.names[each.label],
            (
                _label_entry(each.precision),
                _label_entry(each.recall),
                _label_entry(each.f1),
                Entry(f"{each.support:,}"),
            ),
        )
        for each in found.scores
    )
    return Grid(title, ("label", "precision", "recall", "F1", "rows"), rows, "Mean over seeds; 95 % intervals.")


def _label_entry(score: Interval | None) -> Entry:
    if score is None:
        return Entry(DASH, empty=True, note="the label is not there, or was given to no row")
    return Entry(points(score.score), (span(score),))


def _taken_for(title: str, found: PerLabel) -> Grid:
    none = bool(found.taken_for[:, -1].any())
    columns = range(len(found.names) + none)
    rows = tuple(
        (
            name,
            tuple(
                Entry(
                    _count(found.taken_for[place, column]),
                    best=column == place,
                    empty=not found.taken_for[place, column],
                )
                for column in columns
            ),
        )
        for place, name in enumerate(found.names)
        if found.taken_for[place].any()
    )
    head = ("label", *found.names, *(["none"] if none else []))
    return Grid(title, head, rows, "Test rows, mean over seeds; bold: right.")


def _count(count: float) -> str:
    return f"{count:.1f}".removesuffix(".0")


def calibration_grids(results: Results) -> tuple[Grid, ...]:
    """Return methods by languages of the calibration errors, before and after; none where nothing was calibrated."""
    methods = [method for method in grouped(results.folder) if method in {name for name, _ in results.calibrated}]
    rows = tuple(
        (method, tuple(_calibration_entry(results, method, language) for language in results.folder.languages))
        for method in methods
    )
    legend = (
        "Expected calibration error of the test rows with the temperature, over 15 bins of as many rows, mean over "
        "seeds, with the 95 % interval; then that of the probabilities as the models say them, and the temperatures, "
        "each fitted on dev rows by log-loss (of another language where it is named). Small samples have some error by "
        f"chance alone. T {COLDEST:.2f} and T {HOTTEST:.2f} are bounds: the dev rows ask for more, as those of a model "
        "that has learnt little do."
    )
    legend += _without_temperature(results)
    title = "expected calibration error, in points"
    return (Grid(title, ("method", *results.folder.languages), rows, legend),) if rows else ()


def _without_temperature(results: Results) -> str:
    """Return a sentence that names each method and its languages without a temperature; empty where all have one."""
    found: dict[str, list[str]] = {}
    for method in grouped(results.folder):
        for language in results.folder.languages:
            if results.folder.of(method, language) and (method, language) not in results.calibrated:
                found.setdefault(method, []).append(language)
    named = ", ".join(f"{method} ({' '.join(languages)})" for method, languages in found.items())
    return f" As the models say them, for want of a temperature of dev rows in the language: {named}." if named else ""


def _calibration_entry(results: Results, method: str, language: str) -> Entry:
    found = results.calibrated.get((method, language))
    if found is None:
        return Entry(DASH, empty=True)
    raw = f"raw {points(found.raw.score)} ({span(found.raw)})"
    low, high = min(found.temperatures), max(found.temperatures)
    heat = f"T {low:.2f}" + (f"{DASH}{high:.2f}" if f"{low:.2f}" != f"{high:.2f}" else "")
    other = f" ({found.fitted_on})" if found.fitted_on != language else ""
    return Entry(points(found.calibrated.score), (span(found.calibrated), raw, heat + other))


SHOWN: dict[str, Callable[[float], str]] = {
    "training, seconds": "{:,.0f}".format,
    "prediction, seconds": "{:,.1f}".format,
    "peak memory, GiB": "{:.2f}".format,
    "trainable parameters": "{:,.0f}".format,
}
"""Kind of cost -> how it is written."""


def cost_grid(results: Results) -> Grid | None:
    """Return methods by costs, with the overall score next to them; None where no cost is recorded."""
    found, main = results.costs, results.metrics[0]
    if not found:
        return None
    rows: list[tuple[str, tuple[Entry, ...]]] = []
    for method in grouped(results.folder):
        score = results.cells[main, method, results.overall].score
        values = [SHOWN[name](each[method]) if method in each else "" for name, each in found.items()]
        rows.append((method, tuple(map(text_entry, [points(score.score) if score else "", *values]))))
    where = column_name(results.overall)
    return Grid(
        "cost of one run",
        ("method", f"{metric_name(main)}, {where}", *found),
        tuple(rows),
        "Mean over languages and seeds. Methods that read another's adapter show what training it cost; choosing the "
        "learning rate and translating are not in it.",
        grouped(results.folder),
    )


def detectable_grid(results: Results) -> Grid | None:
    """Return per language the test examples, how many the two main methods answer differently, and what they can show.

    The difference is in accuracy for labels, whatever the main metric, and in the main metric for answers. None where
    the run has no two main methods, or they have no run in common.
    """
    if not results.power:
        return None
    first = next(iter(results.folder.runs.values()))
    labels = not isinstance(first.predictions, AnswerPredictions)
    return Grid(
        f"least difference to be found: {'accuracy' if labels else metric_name(results.metrics[0])}",
        ("", "examples", "discordant", "points"),
        tuple((language or "mean of the languages", _power(each)) for language, each in results.power.items()),
        f"The true difference of {results.subject} and {results.reference} that a paired two-sided test at 5 % over "
        "the test examples finds in 80 of 100 cases, from how often the two were right one without the other (Connor, "
        "1987; the seeds' models averaged). Finding a smaller one takes luck.",
    )


def _power(found: Power) -> tuple[Entry, ...]:
    share = "" if found.discordant is None else f"{found.discordant:.1%}"
    least = "" if found.least is None else points(found.least)
    return text_entry(f"{found.examples:,}"), text_entry(share), text_entry(least)


ROUTES = {"to_target": "into the target", "to_source": "into the source"}


def translation_grids(records: Sequence[Record]) -> list[Grid]:
    """Return the tables of flagged translations, of projected answers and of measured translators.

    Args:
        records: All records of a run; records that used the same translations have the same numbers for them.

    Returns:
        A grid for each of these that has content.
    """
    return [grid for grid in (_flagged(records), _projected(records), _measured(records)) if grid.rows]


def _flagged(records: Sequence[Record]) -> Grid:
    """Return one row for each language, part and route: rows, flagged ones, and each flag that occurs."""
    found: dict[str, dict[str, Any]] = {}
    for record in records:
        parts: Mapping[str, Any] = record.counts.get("translation") or {}
        for part in ("train", "dev", "test"):
            for route, counts in sorted((parts.get(part) or {}).items()):
                found[f"{record.language}, {part}, {ROUTES.get(route, route)}"] = counts
    flags = sorted({name for counts in found.values() for name in counts} - {"rows", "flagged"})
    head = ("rows", "flagged", *flags)
    rows = [(name, [_share(counts, column) for column in head]) for name, counts in found.items()]
    legend = "Rows with an empty, copied or looping translation, another script, a length or numbers that do not fit."
    return _grid("translations that look wrong", head, rows, legend)


def _projected(records: Sequence[Record]) -> Grid:
    """Return one row for each language: how many translated questions kept their answer, and in which way."""
    found: dict[str, dict[str, Any]] = {}
    for record in records:
        counts: Mapping[str, Any] | None = record.data.get("projection")
        if counts is not None:
            found[str(counts.get("language", record.language))] = dict(counts)
    ways = sorted({way for counts in found.values() for way in cast(dict[str, Any], counts.get("ways") or {})})
    rows = [
        (
            language,
            [
                str(counts["rows"]),
                _of(counts["dropped"], counts["rows"]),
                *(str((counts.get("ways") or {}).get(way, 0)) for way in ways),
            ],
        )
        for language, counts in found.items()
    ]
    legend = "Training questions; answers by how each was found again in the translation."
    return _grid("answers carried into the translation", ("rows", "dropped", *ways), rows, legend)


def _measured(records: Sequence[Record]) -> Grid:
    """Return one row for each direction of a trained translator: BLEU and chrF in points."""
    found: dict[str, dict[str, Any]] = {}
    for record in records:
        found |= cast(dict[str, Any], record.translation.get("measured") or {})
    rows = [
        (way.replace("-", " to ", 1), [f"{100 * s['bleu']:.1f}", f"{100 * s['chrf']:.1f}", str(s["texts"])])
        for way, s in found.items()
    ]
    signatures = dict.fromkeys("; ".join(scores["signatures"]) for scores in found.values())
    return _grid("translator trained here, on its test part", ("BLEU", "chrF++", "texts"), rows, " ".join(signatures))


def _share(counts: Mapping[str, Any], column: str) -> str:
    return str(counts["rows"]) if column == "rows" else _of(int(counts.get(column, 0)), int(counts["rows"]))


def _of(count: int, rows: int) -> str:
    """Return a count with its share of the rows; empty for none."""
    return f"{count} ({count / rows:.1%})" if count and rows else ""


def _grid(title: str, head: Iterable[str], rows: Iterable[tuple[str, Sequence[str]]], legend: str) -> Grid:
    made = tuple((name, tuple(map(text_entry, texts))) for name, texts in rows)
    return Grid(title, ("", *head), made, legend)
