"""Single labels in a report: of the best methods, from the predictions, folded."""

from collections.abc import Callable
from pathlib import Path

import pytest

from crossflare.report.build import build_report, to_json
from crossflare.report.detail_tables import label_grids
from crossflare.report.details import best_methods
from crossflare.report.page import to_text
from crossflare.report.results import Results, collect

Make = Callable[..., Path]


@pytest.fixture(scope="module")
def found(run_dir: Path) -> Results:
    return collect(run_dir)


def test_the_best_method_and_the_subject_are_looked_at(found: Results) -> None:
    assert {method for method, _ in found.per_label} <= {"flare", "lora", "zero-shot"}
    assert "flare" in {method for method, _ in found.per_label}
    main = {key[1:]: cell.score for key, cell in found.cells.items() if key[0] == found.metrics[0]}
    assert best_methods(found.folder, main, None, frozenset({"flare"})) == ("lora",), "no upper bound is the best"
    assert best_methods(found.folder, {}, "flare", frozenset()) == ("flare",)


def test_counts_are_those_of_the_predictions(found: Results) -> None:
    for (method, language), each in found.per_label.items():
        runs = found.folder.of(method, language)
        accuracy = found.cells["accuracy", method, language].score
        assert accuracy is not None
        right = sum(each.taken_for[place, place] for place in range(len(each.names)))
        assert right / len(runs[0].ids) == pytest.approx(accuracy.score)
        assert sum(score.support for score in each.scores) == len(runs[0].ids)


def test_tables_are_folded_in_page_and_markdown(make: Make) -> None:
    folder = make()
    report = build_report(folder)
    titles = [grid.title for grid in label_grids(report.results)]
    text = to_text(report.contents)
    start = text.index("## Label by label")
    inside = text[start : text.index("</details>", start)]
    assert "<details><summary>" in inside
    assert all(title in inside for title in titles)
    assert report.html is not None
    page = report.html.read_text(encoding="utf-8")
    assert page.index("Label by label") < page.index(titles[0])
    rows = to_json(report.contents)["labels"]
    assert {(row["method"], row["language"]) for row in rows} == set(report.results.per_label)
