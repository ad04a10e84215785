"""The overview of a grid: every method in every cell, what is missing, and what failed."""

import re
from pathlib import Path

import pytest
from fake_runs import fake_runs

from crossflare.cli import main
from crossflare.disk.files import write_json
from crossflare.errors import UserError
from crossflare.evaluation.significance import Difference, Interval
from crossflare.experiment.running.board import Failure, save_failure
from crossflare.report.grid import points
from crossflare.report.over_cells import CellDifferences, difference_figures, differences_grid
from crossflare.report.overview import CellScores, build_overview, is_grid, overview_grid
from crossflare.report.results import collect

SKILLS = {"zero-shot": 0.5, "lora": 0.6, "flare": 0.7}


@pytest.fixture(scope="module")
def top(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A grid of three cells: all methods; flare worse than lora; nothing has run."""
    folder = tmp_path_factory.mktemp("runs") / "paper"
    fake_runs(folder / "cells" / "xnli,r4", SKILLS, seeds=2, number=60)
    fake_runs(folder / "cells" / "xnli,r8", {"zero-shot": 0.5, "flare": 0.45, "lora": 0.8}, seeds=2, number=60)
    cells = [{"name": name, "values": name.split(",")} for name in ("xnli,r4", "xnli,r8", "nusax,r4")]
    write_json(folder / "grid.json", {"format": 1, "name": "paper", "axes": ["task", "rank"], "cells": cells})
    stops = [{"cell": "nusax,r4", "method": "lora", "language": "ace", "seed": 1}]
    save_failure(folder, Failure.of("0" * 12, "stage 2", "lora, ace, seed 1 (nusax,r4)", UserError("nan"), stops))
    return folder


def test_every_cell_has_its_report_and_the_grid_an_overview(top: Path) -> None:
    assert is_grid(top)
    assert not is_grid(top / "cells" / "xnli,r4")
    made = build_overview(top)
    assert (top / "cells" / "xnli,r4" / "report.html").is_file()
    assert made.html == top / "report.html"
    text, page = made.markdown.read_text(), made.html.read_text()
    head = next(line for line in text.splitlines() if line.startswith("| method"))
    assert head == "| method | rank | xnli,r4 | xnli,r8 | nusax,r4 |"
    lora = next(line for line in text.splitlines() if line.startswith("| lora"))
    assert "failed" in lora
    assert re.search(r"\| not run +\|$|not run", next(line for line in text.splitlines() if line.startswith("| flare")))
    assert "- stage 2 lora, ace, seed 1 (nusax,r4), 20" in text
    assert "[xnli,r8](cells/xnli,r8/report.md)" in text
    assert 'href="cells/xnli,r8/report.html"' in page
    assert 'href="cells/nusax,r4' not in page
    for link in re.findall(r'href="([^#"][^"]*)"', page):
        assert (top / link).is_file()
    assert "<script" not in page
    assert not re.search(r'(?<!xmlns)(?<!xmlns:xlink)="https?:', page), "names of SVG's own languages are no addresses"
    assert "url(http" not in page


def test_every_difference_of_a_grid_is_in_a_table_and_flare_s_in_a_drawing(top: Path) -> None:
    made = build_overview(top)
    results = [collect(top / "cells" / name) for name in ("xnli,r4", "xnli,r8")]
    text, page = made.markdown.read_text(), made.html.read_text()
    table = text.split("## Differences: each method less lora")[1].split("## Reports")[0]
    head, _, *rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("|")]
    assert head == ["method", "xnli,r4", "xnli,r8"]  # the third cell has not run
    assert [row[0] for row in rows] == ["zero-shot", "flare"]
    for row in rows:
        for each, shown in zip(results, row[1:], strict=True):
            own = each.contrasts.get((each.metrics[0], "lora", each.overall)) if row[0] == "flare" else None
            if own is not None and own.difference is not None:  # the cell's own report has it, too
                assert shown.strip("*").startswith(points(own.difference.score, signed=True))
    assert re.findall("<figcaption>([^<]+)</figcaption><svg", page) == ["flare \N{MINUS SIGN} lora, cell by cell"]
    drawing = page.split("flare \N{MINUS SIGN} lora, cell by cell")[1].split("</svg>")[0]
    assert [name for name in ("xnli, r4", "xnli, r8", "nusax") if name in drawing] == ["xnli, r4", "xnli, r8"]


def test_one_cell_has_nothing_to_compare_over() -> None:
    less = CellDifferences("a", "lora", {"flare": Difference(0.1, 0.0, 0.2, 0.5)}, ("flare",))
    other = CellDifferences("b", "base", {"flare": Difference(0.1, 0.0, 0.2, 0.5)}, ("flare",))
    assert differences_grid([less, other], "lora") is None  # another reference is another question
    assert difference_figures([less, other], "lora") == []
    assert len(difference_figures([less, CellDifferences("c", "lora", less.found, ("flare",))], "lora")) == 1


def test_the_verb_reports_a_grid(top: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(top)]) == 0
    shown = capsys.readouterr().out
    assert "paper: " in shown
    assert "failed" in shown
    assert "overview: " in shown


def cell(name: str, scores: dict[str, float], ranked: set[str] | None = None) -> CellScores:
    found = {method: Interval(score, score - 0.1, score + 0.1) for method, score in scores.items()}
    return CellScores(name, "accuracy", found, ranked=frozenset(scores if ranked is None else ranked))


def test_ranks_are_means_over_cells_and_equal_scores_share_a_place() -> None:
    cells = [
        cell("a", {"x": 0.9, "y": 0.1 + 0.2, "z": 0.3, "oracle": 1.0}, {"x", "y", "z"}),
        cell("b", {"x": 0.1, "y": 0.2}),
    ]
    rows = dict(overview_grid("g", cells, []).rows)
    assert [(entries[0].text, entries[0].small) for entries in rows.values()] == [
        ("1.5", ()),
        ("1.8", ()),  # (2.5 + 1) / 2
        ("2.5", ("1 of 2 cells",)),
        ("–", ()),
    ]
    assert [entries[1].best for entries in rows.values()] == [False, False, False, True]
    assert [entry.text for entry in rows["z"][1:]] == ["30.0", "not in recipe"]


def test_a_method_with_some_of_its_seeds_says_what_failed() -> None:
    stops = [{"cell": "a", "method": "x", "language": "sw", "seed": seed} for seed in (1, 2)]
    mark = Failure.of("0" * 12, "stage 1", "en", UserError("no loss"), stops)
    (entry,) = dict(overview_grid("g", [cell("a", {"x": 0.5})], [mark]).rows)["x"][1:]
    assert entry.small == ("40.0–60.0", "2 failed")
    assert entry.note == "no loss"


def test_a_grid_that_is_damaged_or_empty(tmp_path: Path) -> None:
    write_json(tmp_path / "grid.json", {"format": 2})
    with pytest.raises(UserError, match=r"grid\.json: expected a grid of format 1, got 2; upgrade crossflare"):
        build_overview(tmp_path)
    write_json(
        tmp_path / "grid.json", {"format": 1, "name": "x", "axes": ["a"], "cells": [{"name": "b", "values": ["b"]}]}
    )
    with pytest.raises(UserError, match="expected finished runs in cells/, found none; run the recipe first"):
        build_overview(tmp_path)
