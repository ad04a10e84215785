"""TSV files with quoted cells and without: what was written is read, or the file is named with both ways out."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossflare.errors import UserError
from crossflare.experiment.data.opening import open_set
from crossflare.recipe.read import spec_from
from crossflare.tasks.files import read_rows
from crossflare.translation.rows import iterate

RECIPE = """
name: case
task:
  files: {en: {train: a.tsv, dev: a.tsv}, sw: {train: a.tsv, dev: a.tsv, test: a.tsv}}
  texts: [text]
  label: label
  labels: [negative, positive]
source: en
targets: [sw]
model: {name: minilm}
seeds: [0]
methods: {zero-shot: }
"""
SPOKEN = ['she said "so" twice', 'a "b', '"', 'all "quoted"', "plain", "nor this", '"Ndiyo," alisema']


def quoted(rows: list[list[str]], how: int = csv.QUOTE_MINIMAL, end: str = "\n") -> str:
    file = io.StringIO()
    csv.writer(file, delimiter="\t", quoting=how, lineterminator=end).writerows(rows)  # type: ignore[arg-type]
    return file.getvalue()


def texts(path: Path, content: str, quotes: bool | None = None) -> list[str]:
    path.write_bytes(content.encode())
    return [row.text("text") for row in read_rows(path, quotes=quotes)]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("how", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
@pytest.mark.parametrize("said", [None, True])
def test_what_a_csv_writer_wrote_comes_back(tmp_path: Path, how: int, end: str, said: bool | None) -> None:
    content = quoted([["text", "label"], *([text, "positive"] for text in SPOKEN)], how, end)
    assert texts(tmp_path / "a.tsv", content, said) == SPOKEN


def test_cells_with_line_breaks_and_tabs_come_back_with_their_lines(tmp_path: Path) -> None:
    cells = ["one\ntwo", "tab\there", 'with "both"\nof them', "plain"]
    content = quoted([["text", "label"], *([text, "positive"] for text in cells)])
    assert texts(tmp_path / "a.tsv", content) == cells
    assert [row.origin.rpartition(":")[2] for row in read_rows(tmp_path / "a.tsv")] == ["2", "4", "5", "7"]


def test_a_file_that_quotes_nothing_stays_as_it_is(tmp_path: Path) -> None:
    content = "text\tlabel\n" + "".join(f"{text}\tpositive\n" for text in SPOKEN)
    assert texts(tmp_path / "a.tsv", content) == SPOKEN
    assert texts(tmp_path / "a.tsv", content, False) == SPOKEN


def test_a_quotation_among_stray_quotes_stays_as_it_is(tmp_path: Path) -> None:
    cells = ['"a whole quotation"', '6" of rain', 'he said "no'] * 3
    assert texts(tmp_path / "a.tsv", "text\tlabel\n" + "".join(f"{cell}\tx\n" for cell in cells)) == cells


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ['"a ""b"" c"', 'd "e" f'],
            r"a\.tsv: line 2 has cells in quotes, others hold quotes as text \(line 3 has such\)",
        ),
        (["plain", '"Habari"', "x"], r"a\.tsv: line 3 has a cell in quotes, which may wrap the cell or be part of its"),
        (['"one', 'two"\tx', 'more "here" too'], r"quoted cells would join lines that hold quotes as text"),
    ],
)
def test_a_file_that_could_be_either_is_named(tmp_path: Path, lines: list[str], message: str) -> None:
    content = "text\tlabel\n" + "".join(
        f"{line}\tx\n" if not line.startswith('"one') else f"{line}\n" for line in lines
    )
    content = content.replace('two"\tx\tx', 'two"\tx')
    with pytest.raises(UserError, match=message) as raised:
        texts(tmp_path / "a.tsv", content)
    assert "say quotes: true (cells are quoted, as in CSV) or quotes: false (a quote is text)" in str(raised.value)


def test_both_ways_can_be_said_in_a_recipe(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text('text\tlabel\nplain\tnegative\n"Habari"\tpositive\n')
    for said, expected in (("true", "Habari"), ("false", '"Habari"')):
        data = open_set(spec_from(RECIPE.replace("  texts:", f"  quotes: {said}\n  texts:").strip(), tmp_path))
        assert data.split("sw", "test").examples[1].texts == (expected,)
    with pytest.raises(UserError, match="say quotes: true"):
        open_set(spec_from(RECIPE.strip(), tmp_path)).split("sw", "test")


def test_a_file_to_be_translated_is_read_alike(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    texts(path, quoted([["text"], ['a "b"'], ["c"]]))
    assert [row.text("text") for row in iterate(path)] == ['a "b"', "c"]
    assert [row.text("text") for row in iterate(path, quotes=False)] == ['"a ""b"""', "c"]


def test_said_quotes_that_are_not_there_are_an_error_with_the_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.tsv:2: damaged TSV with quoted cells"):
        texts(tmp_path / "a.tsv", 'text\tlabel\n"a" b\tx\n', True)


def cells(*more: str) -> st.SearchStrategy[list[tuple[str, str]]]:
    cell = st.text(st.sampled_from(['"', "a", " ", "é", "'", *more]), max_size=6)
    return st.lists(st.tuples(cell, cell), min_size=1, max_size=5)


def found_or_said(path: Path, content: str) -> list[str] | str:
    try:
        return texts(path, content)
    except UserError as error:
        return "quotes: true" if "say quotes: true" in str(error) else str(error)


@settings(max_examples=150, deadline=None)
@given(cells("\t") | cells("\n"))
def test_any_cells_by_a_csv_writer_come_back_or_are_refused(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    path = tmp_path_factory.mktemp("tsv") / "a.tsv"
    content = quoted([["text", "label"], *map(list, rows)])
    assert texts(path, content, True) == [text for text, _ in rows]
    assert found_or_said(path, content) in ([text for text, _ in rows], "quotes: true")


@settings(max_examples=150, deadline=None)
@given(cells())
def test_unquoted_cells_come_back_where_it_is_said(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    path = tmp_path_factory.mktemp("tsv") / "a.tsv"
    content = "text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows)
    assert texts(path, content, False) == [text for text, _ in rows]
