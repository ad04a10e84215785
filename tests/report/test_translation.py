"""The report's tables of translations: what the records count, once, and nothing where they count nothing."""

from dataclasses import replace
from typing import Any

from crossflare.evaluation.record import Record
from crossflare.report.detail_tables import translation_grids
from crossflare.report.grid import to_markdown

COUNTS = {
    "train": {"to_target": {"rows": 200, "flagged": 5, "copied": 5, "dropped": 5}},
    "test": {"to_source": {"rows": 100, "flagged": 2, "length": 2}},
}
MEASURED = {"en-sw": {"bleu": 0.0512, "chrf": 0.253, "signatures": ["bleu|a", "chrf|b"], "texts": 20}}


def record(**more: Any) -> Record:
    plain = Record(
        run_id="a", spec_name="s", method={"name": "flare"}, language="sw", seed=0, task={"labels": []}, scores={},
        signature={}, predictions="p",
    )  # fmt: skip
    return replace(plain, **more)


def test_records_that_count_nothing_make_no_table() -> None:
    assert translation_grids([record()]) == []
    assert translation_grids([]) == []


def test_flags_are_shown_by_language_part_and_route() -> None:
    found = record(counts={"translation": COUNTS})
    (grid,) = translation_grids([found, replace(found, seed=1)])
    assert grid.head == ("", "rows", "flagged", "copied", "dropped", "length")
    assert [(name, [entry.text for entry in entries]) for name, entries in grid.rows] == [
        ("sw, train, into the target", ["200", "5 (2.5%)", "5 (2.5%)", "5 (2.5%)", "–"]),
        ("sw, test, into the source", ["100", "2 (2.0%)", "–", "–", "2 (2.0%)"]),
    ]


def test_projected_answers_and_measured_translators() -> None:
    lost = {"language": "sw", "rows": 50, "dropped": 10, "ways": {"markers": 30, "fuzzy": 10, "none": 10}}
    grids = translation_grids([record(data={"projection": lost}, translation={"measured": MEASURED})])
    assert "| sw | 50 | 10 (20.0%) | 10 | 30 | 10 |" in to_markdown(grids[0])
    assert "| en to sw | 5.1 | 25.3 | 20 |" in to_markdown(grids[1])
    assert grids[1].legend == "bleu|a; chrf|b"
