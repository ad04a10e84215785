"""A report begins with the look at the data that the run took; a run of an older version has none."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from fake_runs import write_look

from crossflare.errors import UserError
from crossflare.report.contents import contents_of, data_grids
from crossflare.report.page import render_page, to_text
from crossflare.report.results import Results
from crossflare.report.runs import read_runs

Make = Callable[..., Path]


def test_the_first_section_is_of_the_data(results: Results, tmp_path: Path) -> None:
    results = replace(results, folder=replace(results.folder, path=tmp_path))
    before = to_text(contents_of(results)), render_page(contents_of(results))
    assert "The data" not in "".join(before)
    write_look(results.folder.path)
    text, page = to_text(contents_of(results)), render_page(contents_of(results))
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    assert headings[0] == "## The data"
    assert "| ace train | 1,234 | 617 617 |" in text
    assert "5 test rows have the text of a train row" in text
    assert page.index("<h2>The data</h2>") < page.index("<h2>Scores")
    assert "1,234" in page
    assert "5 test rows have the text of a train row" in page
    (results.folder.path / "inspection.json").unlink()
    assert (to_text(contents_of(results)), render_page(contents_of(results))) == before


@pytest.mark.parametrize("content", ["{", "[]", '{"look": {"format": 9}}'])
def test_a_damaged_look_is_named(make: Make, content: str) -> None:
    folder = make(seeds=1)
    (folder / "inspection.json").write_text(content)
    with pytest.raises(UserError, match=r"inspection\.json: expected .* delete it and run the recipe again"):
        data_grids(read_runs(folder))
