"""How good the translations of an experiment are, as far as is seen without a reader: a table for each question."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from crossflare.evaluation.record import Record
from crossflare.report.tables import DASH, Entry, Grid

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
