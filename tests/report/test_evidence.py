"""What a report says beside its scores: tests, ranks, what could be seen, cost, and rows to look at."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from fake_runs import SIX, TWENTY, change_record, fake_grid, write_examples
from hypothesis import given
from hypothesis import strategies as st

from crossflare.errors import UserError
from crossflare.evaluation.paired import detectable, mcnemar
from crossflare.evaluation.predictions import Predictions
from crossflare.report import build_report
from crossflare.report.build import to_tex
from crossflare.report.contents import contents_of
from crossflare.report.detail_tables import detectable_grid
from crossflare.report.drawings import TOGETHER, curve_blocks, scatter_points
from crossflare.report.examples import SHOWN, worst_examples
from crossflare.report.figures import spread
from crossflare.report.grid import BETTER, MAYBE_BETTER, to_latex, to_markdown
from crossflare.report.methods import grouped, unranked
from crossflare.report.resample import PairedTests
from crossflare.report.results import Contrast, Results, _adjust, collect
from crossflare.report.runs import MACRO, read_runs
from crossflare.report.summary import summary
from crossflare.report.tables import contrasts, scores

Make = Callable[..., Path]


@pytest.fixture(scope="module")
def twenty(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return collect(fake_grid(tmp_path_factory.mktemp("runs") / "grid", seeds=1, number=40))


def test_q_is_benjamini_and_hochberg_s_over_the_languages_of_one_pair() -> None:
    """statsmodels 0.15.0: multipletests([0.001, 0.008, 0.039, 0.041, 0.042, 0.06], method="fdr_bh")."""
    values = [0.001, 0.008, 0.039, 0.041, 0.042, 0.06]
    languages = [f"l{place}" for place in range(6)]
    found = {
        ("f1", "lora", x): Contrast("f1", "lora", x, None, PairedTests(p))
        for x, p in zip(languages, values, strict=True)
    }
    found["f1", "zero-shot", "l0"] = Contrast("f1", "zero-shot", "l0", None, PairedTests(0.0001))
    found["f1", "lora", MACRO] = Contrast("f1", "lora", MACRO, None, PairedTests(0.0001))
    found["f1", "lora", "l6"] = Contrast("f1", "lora", "l6", None)
    adjusted = _adjust(found)
    expected = [0.006, 0.024, 0.0504, 0.0504, 0.0504, 0.06]
    assert [adjusted["f1", "lora", x].q for x in languages] == pytest.approx(expected, abs=1e-12)
    assert adjusted["f1", "zero-shot", "l0"].q == 0.0001, "a pair that is easily told apart lends its p to no other"
    assert adjusted["f1", "lora", MACRO].q is None
    assert adjusted["f1", "lora", "l6"].q is None


def test_the_mark_of_an_interval_alone_is_hollow(results: Results) -> None:
    key = ("macro_f1", "flare", MACRO)
    cell = results.cells[key]
    assert cell.against is not None
    assert cell.against.low > 0
    for q, mark in ((None, BETTER), (0.049, BETTER), (0.05, MAYBE_BETTER)):
        changed = replace(results, cells={**results.cells, key: replace(cell, q=q)})
        assert dict(scores(changed, "macro_f1").rows)["flare"][0].mark == mark


def test_one_seed_of_labels_has_mcnemar_s_test_and_a_warning_everywhere(make: Make) -> None:
    folder = make(seeds=1)
    found = collect(folder)
    runs = [found.folder.runs[method, "ace", 1].predictions for method in ("flare", "lora")]
    assert isinstance(runs[0], Predictions)
    tested = found.contrasts["accuracy", "lora", "ace"].tested
    assert tested is not None
    assert tested.mcnemar == mcnemar(runs[0].gold, *(run.predicted for run in runs if isinstance(run, Predictions)))
    assert "McNemar" in to_markdown(contrasts(found, "accuracy"))
    assert "McNemar" not in to_markdown(contrasts(found, "macro_f1")), "it tests accuracy"
    build_report(folder)
    for name in ("report.html", "report.md", "results.json"):
        assert "One seed only: the intervals are over test examples alone." in (folder / name).read_text()


def test_several_seeds_have_no_mcnemar_and_no_warning(results: Results) -> None:
    assert all(each.tested is None or each.tested.mcnemar is None for each in results.contrasts.values())
    assert summary(results).warnings == ()


def test_languages_that_share_some_items_have_no_test_of_their_mean(make: Make) -> None:
    folder = make(seeds=1)
    for path in (folder / "predictions").glob("*-ban-1.jsonl"):
        path.write_text(path.read_text().replace('"id": "0000"', '"id": "9999"'))
    found = collect(folder)
    tested = found.contrasts["macro_f1", "lora", MACRO].tested
    assert tested is not None
    assert tested.p is None
    assert "same test items or with none in common, got 59 shared of 60 and 60" in contrasts(found, "macro_f1").legend
    assert any("share some test items but not all" in each for each in summary(found).warnings)
    ace = found.contrasts["macro_f1", "lora", "ace"].tested
    assert ace is not None
    assert ace.p is not None


def test_predictions_changed_after_the_record_are_refused(make: Make) -> None:
    folder = make(seeds=1)
    change_record(folder / "records" / "lora-ace-1.json", predictions_sha256="0" * 64)
    with pytest.raises(UserError, match=r"lora-ace-1.jsonl: .*found them changed"):
        read_runs(folder)


def test_the_least_difference_is_that_of_the_two_main_methods(results: Results) -> None:
    grid = detectable_grid(results)
    assert grid is not None
    assert [name for name, _ in grid.rows] == ["mean of the languages", "ace", "ban", "min"]
    sides: list[np.ndarray] = []
    for method in ("flare", "lora"):
        runs = [run.predictions for run in results.folder.of(method, "ace")]
        sides.append(np.stack([run.predicted == run.gold for run in runs if isinstance(run, Predictions)]))
    difference = sides[0].astype(float) - sides[1]
    least = detectable(difference.mean(0))
    assert least is not None
    row = dict(grid.rows)["ace"]
    assert [entry.text for entry in row] == ["120", f"{(difference != 0).mean():.1%}", f"{100 * least:.1f}"]


def test_twenty_methods_stand_in_groups(twenty: Results) -> None:
    groups = grouped(twenty.folder)
    assert list(dict.fromkeys(groups.values())) == [
        "Baselines", "Rivals", "FLARE variants", "Combinations", "Controls", "Upper bounds",
    ]  # fmt: skip
    assert unranked(twenty.folder) == {"zero-source", "shuffled-source", "target-as-source", "flare-oracle"}
    grid = scores(twenty, "macro_f1")
    assert [name for name, _ in grid.rows] == list(groups)
    best = {name for name, entries in grid.rows if entries[0].best}
    assert best, "an upper bound is best of nothing"
    assert "flare-oracle" not in best
    text = to_markdown(grid)
    assert (
        text.index("*Baselines*") < text.index("| zero-shot") < text.index("*Controls*") < text.index("| zero-source")
    )


def test_ranks_are_of_the_rivals_alone(twenty: Results) -> None:
    ranked = {method for metric, method in twenty.ranks if metric == "macro_f1"}
    assert ranked == set(TWENTY) - unranked(twenty.folder)
    assert sum(rank.score for (metric, _), rank in twenty.ranks.items() if metric == "macro_f1") == pytest.approx(136)


def test_curves_of_many_methods_are_drawn_in_parts_with_subject_and_reference(twenty: Results) -> None:
    blocks = curve_blocks(twenty)
    assert [block.first for block in blocks] == [True] + [False] * (len(blocks) - 1)
    for block in blocks:
        names = [name for name, _ in block.pens]
        assert len(names) <= TOGETHER
        assert {"flare", "lora"} <= set(names)
        assert len(set(block.pens)) == len(names), "no two look alike"
    trained = {method for (method, _, _), run in twenty.folder.runs.items() if run.record.training}
    assert {name for block in blocks for name, _ in block.pens} == trained


def test_costs_stand_beside_the_score(twenty: Results) -> None:
    points = scatter_points(twenty, "training, seconds")
    assert "zero-shot" not in points, "what trains nothing has no training cost"
    assert points["lora-equal-cost"][0] == pytest.approx(1.5 * 61.3 + 1)
    score = twenty.cells["macro_f1", "lora", MACRO].score
    assert score is not None
    assert points["lora"][1] == 100 * score.score


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_names_beside_a_drawing_never_collide(heights: list[float]) -> None:
    gap = 1 / max(len(heights), 12)
    placed = spread(sorted(heights), gap)
    assert all(b - a >= gap - 1e-9 for a, b in pairwise(placed))
    assert placed[0] >= 0
    assert placed[-1] <= 1 + 1e-9


def test_latex_is_balanced_and_has_every_number(twenty: Results) -> None:
    text = to_tex(contents_of(twenty))
    bare = re.sub(r"\\[\\{}%&_#$]", "", text)
    assert bare.count("{") == bare.count("}")
    assert bare.replace(r"\$", "").count("$") % 2 == 0
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == text.count(r"\bottomrule") == 4
    assert not re.search(r"[−–▲▼△▽<>]", text)
    assert r"\emph{FLARE variants}" in text
    for line in to_latex(scores(twenty, "macro_f1")).splitlines():
        if line.endswith(r"\\") and "multicolumn" not in line:
            assert len(re.findall(r"(?<!\\)&", line)) == len(SIX) + 2


def test_examples_are_those_that_tell_the_methods_apart_and_the_hard_ones(twenty: Results) -> None:
    found = {part.language: dict(part.found) for part in worst_examples(twenty)}
    assert set(found) == set(SIX)
    for rows in found.values():
        assert sum(map(len, rows.values())) <= SHOWN
        shown = [row.id for part in rows.values() for row in part]
        assert len(set(shown)) == len(shown)
        for row in rows.get("lora better than flare", ()):
            answers = {method: each.right for each in row.said for method in each.methods}
            assert answers["lora"]
            assert not answers["flare"]
        for row in rows["Most methods wrong"]:
            assert {method for each in row.said for method in each.methods} == set(TWENTY)


def test_rows_of_data_are_on_the_page_alone_and_read_either_way(make: Make) -> None:
    folder = make(seeds=1, languages={"ar": 0.0})
    path = write_examples(folder, "ar", 60)
    build_report(folder)
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert re.search(r'<dd dir="auto" lang="ar">[\u0600-\u06ff ]+</dd>', page)
    assert "as a translator would have them" in page
    for name in ("report.md", "results.json", "results.csv", "report.tex"):
        assert "as a translator would have them" not in (folder / name).read_text(encoding="utf-8")
    rows = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([rows[0], rows[1][:-4]]) + "\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"ar.jsonl:2: expected the texts of a row, but the line is damaged"):
        build_report(folder)


def test_without_texts_there_are_no_examples(results: Results) -> None:
    assert worst_examples(results) == []


def test_results_hold_ranks_and_every_p(make: Make) -> None:
    folder = make(seeds=2)
    build_report(folder)
    found = json.loads((folder / "results.json").read_text())
    assert {each["method"] for each in found["ranks"]} == {"zero-shot", "lora", "flare"}
    for each in found["differences"]:
        assert 0 < each["p_permutation"] <= 1
        assert each["p_mcnemar"] is None
