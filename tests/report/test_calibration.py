"""Calibration in a report: from raw predictions and the temperatures of the records; older runs have no such part."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_runs import with_temperatures

from crossflare.report.build import build_report
from crossflare.report.contents import contents_of
from crossflare.report.page import to_text
from crossflare.report.results import collect

Make = Callable[..., Path]


def test_older_runs_have_no_such_part(run_dir: Path) -> None:
    results = collect(run_dir)
    assert results.calibrated == {}
    assert "## Calibration" not in to_text(contents_of(results))


def test_the_error_falls_where_the_temperature_undoes_what_is_wrong(make: Make) -> None:
    report = build_report(with_temperatures(make()))
    found = report.results.calibrated
    assert set(found) == {(method, language) for method, language, _ in report.results.folder.runs}
    for each in found.values():
        assert each.calibrated.score < each.raw.score
        assert each.raw.low <= each.raw.score
        assert set(each.temperatures) == {2.0}
    accuracy = report.results.cells["accuracy", "flare", "ace"].score
    assert accuracy is not None
    assert found["flare", "ace"].accuracies[-1] == pytest.approx(accuracy.score), "all rows are answered"
    text = report.markdown.read_text(encoding="utf-8")
    assert "## Calibration" in text
    assert "T 2.00" in text
    assert report.html is not None
    assert "rows answered, surest first" in report.html.read_text(encoding="utf-8")
    rows = json.loads(report.json.read_text(encoding="utf-8"))["calibration"]
    assert len(rows) == len(found)
    assert rows[0]["error"]["score"] > rows[0]["error_calibrated"]["score"]


def test_what_has_no_temperature_is_named_in_one_sentence(make: Make) -> None:
    results = collect(with_temperatures(make(), without="zero-shot"))
    named = f"for want of a temperature of dev rows in the language: zero-shot ({' '.join(results.folder.languages)})."
    assert named in to_text(contents_of(results))
    assert "for want of" not in to_text(contents_of(collect(with_temperatures(make()))))
