"""What stands behind the numbers: checks, cost, training, translations, and what the runs ran on."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from crossflare.evaluation.record import Record, Trial
from crossflare.report.calibration_tables import TITLE as CALIBRATION
from crossflare.report.calibration_tables import calibration_grids
from crossflare.report.cost import cost_grid, detectable_grid
from crossflare.report.label_tables import label_grids
from crossflare.report.results import Results
from crossflare.report.summary import range_text
from crossflare.report.tables import DASH, Entry, Grid, matrix, points

ROUTES = {"to_target": "into the target", "to_source": "into the source"}


def translation_grids(records: Sequence[Record]) -> list[Grid]:
    """Return the tables of flagged translations, of projected answers and of measured translators.

    Args:
        records: All records of a run; those that used the same translations say the same of them.

    Returns:
        A grid for each that has something to say.
    """
    return [grid for grid in (_flagged(records), _projected(records), _measured(records)) if grid.rows]


def _flagged(records: Sequence[Record]) -> Grid:
    """Return one row for each language, part and route: rows, flagged ones, and each flag that was raised."""
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
    """Return one row for each language: how many translated questions kept their answer, and by which way."""
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
    """Return one row for each direction of a translator that was trained: BLEU and chrF in points."""
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
    """Return a count with its share of the rows; nothing for none."""
    return f"{count} ({count / rows:.1%})" if count and rows else ""


def _grid(title: str, head: Iterable[str], rows: Iterable[tuple[str, Sequence[str]]], legend: str) -> Grid:
    made = tuple((name, tuple(Entry(text or DASH, empty=not text) for text in texts)) for name, texts in rows)
    return Grid(title, ("", *head), made, legend)


LEAST = "What the test sets can show"


@dataclass(frozen=True, slots=True)
class Section:
    """Tables under a heading."""

    title: str
    grids: tuple[Grid, ...]
    folded: bool = False
    """Whether the page and the Markdown show it when they are asked to."""


def sections(results: Results) -> list[Section]:
    """Return the tables of checks and of training; those with nothing to say are left out."""

    def each(read: Callable[[Record], Any], show: Callable[[Iterable[Any]], str]) -> Callable[[str, str], str]:
        return lambda method, language: show(
            value for run in results.folder.of(method, language) if (value := read(run.record)) is not None
        )

    def count(*path: str) -> Callable[[str, str], str]:
        return each(lambda record: _dig(record.counts, path), range_text)

    chosen = each(lambda r: r.training.get("lr"), _tally)
    tried = each(lambda r: r.training.get("chosen_from"), _trials)
    checks = [
        matrix("texts cut at the window", "method", results, count("truncated", "target")),
        matrix("sources cut at the window", "method", results, count("truncated", "source")),
        matrix("empty texts", "method", results, count("empty")),
        matrix("texts without a source", "method", results, count("no_source")),
    ]
    long = [
        matrix("rows longer than the window", "method", results, count("windows", "rows")),
        matrix("windows in which they were read", "method", results, count("windows", "read"), "Of all these rows."),
    ]
    trained = [
        matrix("learning rate, chosen on the dev part", "method", results, chosen, "×n: by n of the seeds."),
        matrix("rates tried: dev score, in points", "method", results, tried, "Mean over seeds."),
        matrix("steps", "method", results, each(lambda r: r.training.get("steps"), range_text)),
    ]
    cost, least = cost_grid(results), detectable_grid(results)
    found = [
        Section(LEAST, (least,) if least else ()),
        Section("Label by label: the best methods", label_grids(results), folded=True),
        Section(CALIBRATION, calibration_grids(results)),
        Section("Cost and quality", (cost,) if cost else ()),
        Section("Test texts that were cut, empty or without a source", _filled(checks)),
        Section("Test texts read in windows", _filled(long)),
        Section("Translation quality", tuple(translation_grids([run.record for run in results.folder.runs.values()]))),
        Section("Training", _filled(trained)),
    ]
    return [section for section in found if section.grids]


def environment(results: Results) -> dict[str, list[str]]:
    """Return versions, hardware, models, data and engines, each distinct value once with the runs that have it."""
    records = [run.record for run in results.folder.runs.values()]
    found: dict[str, list[str]] = {}
    for title in ("versions", "hardware", "model", "translation"):
        tally = Counter(json.dumps(getattr(record, title), sort_keys=True, ensure_ascii=False) for record in records)
        texts = [text for text in sorted(tally) if text not in ("{}", "null")]
        several = len(tally) > 1
        found[title] = [_lines(json.loads(text)) + (f"\n({tally[text]} runs)" if several else "") for text in texts]
    return {title: values for title, values in found.items() if values}


def _dig(values: Any, path: Iterable[str]) -> Any:
    for name in path:
        values = values.get(name) if isinstance(values, Mapping) else None
    return values


def _tally(values: Iterable[float]) -> str:
    tally = Counter(values)
    return ", ".join(_rate(value) + (f" ×{n}" if n > 1 else "") for value, n in sorted(tally.items()))


def _trials(seeds: Iterable[list[Trial]]) -> str:
    """Return a line for each learning rate with its dev score, in points, the mean over seeds."""
    tried: dict[float, list[float]] = {}
    for trials in seeds:
        for trial in trials:
            tried.setdefault(trial["lr"], []).append(trial["dev_score"])
    return "\n".join(f"{_rate(lr)}: {points(sum(found) / len(found))}" for lr, found in sorted(tried.items()))


def _rate(value: float) -> str:
    """Return a learning rate as `2.5e-4`."""
    digits, _, power = f"{value:.3e}".partition("e")
    return f"{digits.rstrip('0').rstrip('.')}e{int(power)}"


def _filled(grids: Iterable[Grid]) -> tuple[Grid, ...]:
    """Return the grids without the methods that they say nothing about, and none that say nothing at all."""
    kept = [replace(grid, rows=tuple(row for row in grid.rows if not all(e.empty for e in row[1]))) for grid in grids]
    return tuple(grid for grid in kept if grid.rows)


def _lines(value: Any, indent: str = "") -> str:
    """Return a JSON object as indented lines `name: value`."""
    if not isinstance(value, dict):
        return str(value)
    return "\n".join(
        f"{indent}{name}:\n{_lines(item, indent + '  ')}" if isinstance(item, dict) else f"{indent}{name}: {item}"
        for name, item in value.items()
    )
