"""The words and tables of a report, made here once from its values; all its forms show them."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from crossflare.evaluation.folder import RunFiles
from crossflare.evaluation.record import Record, Trial
from crossflare.inspection.found import Look
from crossflare.inspection.remarks import warnings_of
from crossflare.inspection.show import Sheet, languages_sheet, pairs_sheet, parts_sheet
from crossflare.report.detail_tables import (
    calibration_grids,
    cost_grid,
    detectable_grid,
    label_grids,
    translation_grids,
)
from crossflare.report.grid import Entry, Grid, points
from crossflare.report.methods import descriptions
from crossflare.report.results import Results
from crossflare.report.runs import RunFolder
from crossflare.report.summary import Summary, range_text, summary
from crossflare.report.tables import contrasts, matrix, score_list, scores

UNPARSED = "Each counts as wrong. Of all rows of a language, by seed."
LEAST, COST, CALIBRATION, DATA = "What the test sets can show", "Cost and quality", "Calibration", "The data"


@dataclass(frozen=True, slots=True)
class Section:
    """Tables under a heading."""

    title: str
    grids: tuple[Grid, ...]
    folded: bool = False
    """Whether the page and the Markdown show it only when the reader opens it."""


@dataclass(frozen=True)
class Contents:
    """The contents that all forms of a report show."""

    results: Results
    head: Summary
    data: tuple[list[Grid], list[str]]
    """See `data_grids`."""
    methods: tuple[tuple[str, str], ...]
    """See `descriptions`."""
    scores: Mapping[str, Grid]
    """The table of each metric, the main one first."""
    contrasts: Mapping[str, Grid]
    """The table of each metric; a table without a row is left out."""
    every_score: Grid
    sections: list[Section]
    environment: dict[str, list[str]]
    """See `environment`."""

    @property
    def main(self) -> Grid:
        """The scores of the main metric."""
        return self.scores[self.results.metrics[0]]


def contents_of(results: Results) -> Contents:
    """Return all contents of a report.

    Raises:
        UserError: The file of the look at the data is damaged.
    """
    less = {metric: contrasts(results, metric) for metric in results.metrics if results.subject}
    return Contents(
        results,
        summary(results),
        data_grids(results.folder),
        descriptions(results.folder),
        {metric: scores(results, metric) for metric in results.metrics},
        {metric: grid for metric, grid in less.items() if grid.rows},
        score_list(results),
        sections(results),
        environment(results),
    )


def data_grids(folder: RunFolder) -> tuple[list[Grid], list[str]]:
    """Return the tables about the rows that a run was made with, and its warnings; nothing for a run without a look.

    Raises:
        UserError: The file is damaged.
    """
    files = RunFiles(folder.path)
    kept = files.read_look()
    if kept is None:
        return [], []
    look = Look.of(kept.get("look") if isinstance(kept, dict) else None, str(files.look))
    sheets = [parts_sheet(look), languages_sheet(look), pairs_sheet(look.pairs)]
    return [_data_grid(sheet) for sheet in sheets if sheet.rows], warnings_of(look)


def _data_grid(sheet: Sheet) -> Grid:
    """Return a table of the report; the columns that name a row become one name."""
    keys = sheet.keys
    rows = tuple((" ".join(row[:keys]), tuple(Entry(cell) for cell in row[keys:])) for row in sheet.rows)
    return Grid(sheet.title.lower(), ("", *sheet.head[keys:]), rows, sheet.legend)


def sections(results: Results) -> list[Section]:
    """Return the tables of checks and of training; tables without content are left out."""

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
    unparsed = [matrix("answers that name no label, or are empty", "method", results, count("unparsed"), UNPARSED)]
    cost, least = cost_grid(results), detectable_grid(results)
    found = [
        Section(LEAST, (least,) if least else ()),
        Section("Label by label: the best methods", label_grids(results), folded=True),
        Section(CALIBRATION, calibration_grids(results)),
        Section(COST, (cost,) if cost else ()),
        Section("Test texts that were cut, empty or without a source", tuple(filter(_counted, _filled(checks)))),
        Section("Test texts read in windows", _filled(long)),
        Section("Answers of prompted models", _filled(unparsed)),
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
    """Return a line for each learning rate with its dev score in points, the mean over seeds."""
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
    """Return the grids without the methods that have nothing in them, and without empty grids."""
    kept = [replace(grid, rows=tuple(row for row in grid.rows if not all(e.empty for e in row[1]))) for grid in grids]
    return tuple(grid for grid in kept if grid.rows)


def _counted(grid: Grid) -> bool:
    """Return whether a table of counts has any but 0."""
    return any(entry.text != "0" for _, row in grid.rows for entry in row if not entry.empty)


def _lines(value: Any, indent: str = "") -> str:
    """Return a JSON object as indented lines `name: value`."""
    if not isinstance(value, dict):
        return str(value)
    return "\n".join(
        f"{indent}{name}:\n{_lines(item, indent + '  ')}" if isinstance(item, dict) else f"{indent}{name}: {item}"
        for name, item in value.items()
    )
