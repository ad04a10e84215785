import csv
import io
import json
import re
from dataclasses import replace

import pytest

from crossflare.evaluation.significance import Interval
from crossflare.report.contents import sections
from crossflare.report.grid import BETTER, WORSE, Entry, Grid, p_text, points, span, to_csv, to_latex, to_markdown
from crossflare.report.results import Results
from crossflare.report.summary import summary
from crossflare.report.tables import column_name, contrasts, score_list, scores


@pytest.mark.parametrize(
    ("value", "signed", "text"),
    [
        (0.7251, False, "72.5"),
        (0.012, True, "+1.2"),
        (-0.012, True, "−1.2"),
        (-0.0001, True, "0.0"),
        (1.0, False, "100.0"),
    ],
)
def test_points(value: float, signed: bool, text: str) -> None:
    assert points(value, signed=signed) == text


def test_spans_and_p_values() -> None:
    assert span(Interval(0.5, 0.451, 0.55)) == "45.1–55.0"
    assert span(Interval(0.0, -0.01, 0.02), signed=True) == "[−1.0, +2.0]"
    assert (p_text(0.0002), p_text(0.0404)) == ("< 0.001", "0.040")


def test_the_best_of_each_column_is_bold_and_marks_follow_the_paired_interval(results: Results) -> None:
    grid = scores(results, "macro_f1")
    for column in results.columns:
        shown = {method: entries[grid.head.index(column_name(column)) - 1] for method, entries in grid.rows}
        top = max(float(entry.text) for entry in shown.values())
        assert {m for m, entry in shown.items() if entry.best} == {m for m, e in shown.items() if float(e.text) == top}
        for method, entry in shown.items():
            against = results.cells["macro_f1", method, column].against
            expected = "" if against is None or not against.clear else BETTER if against.score > 0 else WORSE
            assert entry.mark == expected
    assert any(entry.mark == WORSE for _, entries in grid.rows for entry in entries)


def test_contrasts_leave_the_subject_out(results: Results) -> None:
    assert [name for name, _ in contrasts(results, "macro_f1").rows] == ["− zero-shot", "− lora"]


def test_a_long_reason_stands_under_the_table(results: Results) -> None:
    key = ("macro_f1", "lora", "ace")
    reason = "scores that differ in model have no average: model:a|x and model:b|x"
    gap = replace(results.cells[key], score=None, gap=reason)
    grid = scores(replace(results, cells={**results.cells, key: gap}), "macro_f1")
    assert grid.rows[1][1][grid.head.index("ace") - 1].small == ("see below",)
    assert grid.legend.endswith(f"Missing: {reason}.")


def test_markdown_has_as_many_cells_in_every_row(results: Results) -> None:
    lines = to_markdown(scores(results, "macro_f1")).split("\n\n")[0].splitlines()
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {len(results.columns) + 3}, (
        "a column for the rank"
    )


def test_hostile_names_are_escaped() -> None:
    grid = Grid("t", ("a|b", "c"), (("x_1 & <b>", (Entry("50 %", best=True),)),))
    assert "a\\|b" in to_markdown(grid)
    assert "x_1 &amp; &lt;b>" in to_markdown(grid)
    assert r"x\_1 \& \textless{}b\textgreater{} & \textbf{50 \%} \\" in to_latex(grid)


def test_a_cell_of_several_lines_stays_in_its_row() -> None:
    grid = Grid("t", ("a", "b"), (("x", (Entry("1\n2"),)),))
    assert to_markdown(grid).strip().splitlines()[-1] == "| x | 1<br>2 |"


def test_csv_holds_every_score_and_its_signature(results: Results) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(score_list(results)))))
    assert len(rows) == len(results.cells)
    for row in rows:
        cell = results.cells[row["metric"], row["method"], row["language"]]
        assert cell.score is not None
        assert float(row["score"]) == cell.score.score
        assert row["signature"] == str(cell.signature)


def test_sections_tell_counts_rates_and_cost(results: Results) -> None:
    found = {grid.title: grid for section in sections(results) for grid in section.grids}
    assert found["texts cut at the window"].rows[0] == ("zero-shot", (Entry("3"),) * 3)
    assert [name for name, _ in found["texts without a source"].rows] == ["flare"], "others read no source"
    assert found["learning rate, chosen on the dev part"].rows[0][1][0].text == "3e-4, 1e-3 ×2"
    cost = dict(found["cost of one run"].rows)
    assert [entry.text for entry in cost["flare"][1:]] == ["100", "3.2", "1.79", "223,491"]
    assert [entry.text for entry in cost["zero-shot"][1:]] == ["–", "1.0", "–", "–"]
    assert re.fullmatch(
        r"3e-4: \d\d\.\d\n1e-3: \d\d\.\d", found["rates tried: dev score, in points"].rows[0][1][0].text
    )


def test_rates_keep_their_digits() -> None:
    from crossflare.report.contents import _rate

    assert [_rate(value) for value in (2.5e-4, 1e-3, 2e-5, 0.1)] == ["2.5e-4", "1e-3", "2e-5", "1e-1"]


def test_the_finding_says_what_the_paired_interval_says(results: Results) -> None:
    said = summary(results).finding
    difference = results.contrasts["macro_f1", "lora", "macro"].difference
    assert difference is not None
    assert ("is above lora by" in said) == (difference.low > 0)
    assert ("cannot be told apart" in said) == (not difference.clear)
    assert json.dumps(summary(results).facts)  # plain values
