from pathlib import Path

import pytest

from crossflare.errors import UserError
from crossflare.tasks.columns import attach_sources, read_examples
from crossflare.tasks.example import Example
from crossflare.tasks.kinds import TextTask
from crossflare.tasks.layout import FileLayout


def put(folder: Path, name: str, content: str) -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


def items(*triples: tuple[str, str, int | None]) -> list[Example]:
    return [Example(id, (text,), label, None, f"f.csv:{n}") for n, (id, text, label) in enumerate(triples, 2)]


def test_columns_become_examples(tmp_path: Path, mood: TextTask) -> None:
    path = put(tmp_path, "t.csv", "key,said,english,mood\n7,mbaya,bad,awful\n3,,,good\n")
    read = read_examples(path, mood, FileLayout(("said",), "mood", "key", ("english",)))
    assert read == (
        Example("7", ("mbaya",), 0, ("bad",), f"{path}:2"),
        Example("3", ("",), 1, ("",), f"{path}:3"),
    )


def test_ids_default_to_the_row_number(tmp_path: Path, mood: TextTask) -> None:
    read = read_examples(put(tmp_path, "t.tsv", "a\tgood\nb\tbad\n"), mood, FileLayout(header=("text", "label")))
    assert [(item.id, item.label, item.source) for item in read] == [("0", 1, None), ("1", 0, None)]


def test_whole_number_ids_and_null_sources_of_jsonl(tmp_path: Path, mood: TextTask) -> None:
    path = put(tmp_path, "t.jsonl", '{"id": 5, "text": "a", "label": "good", "source": null}\n')
    assert read_examples(path, mood, FileLayout(id="id", source_texts=("source",)))[0].source is None


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("1,a,good\n1,b,bad\n", "{path}:3: the id '1' is taken by {path}:2"),
        (",a,good\n", "{path}:2: the id in column 'id' is empty"),
        ("1,a,fine\n", "{path}:2: unknown label 'fine'"),
    ],
)
def test_mistakes_in_rows_are_named(tmp_path: Path, mood: TextTask, rows: str, says: str) -> None:
    path = put(tmp_path, "t.csv", "id,text,label\n" + rows)
    with pytest.raises(UserError) as caught:
        read_examples(path, mood, FileLayout(id="id"))
    assert str(caught.value).startswith(says.replace("{path}", str(path)))


def test_a_missing_column_shows_the_found_ones(tmp_path: Path, mood: TextTask) -> None:
    path = put(tmp_path, "t.csv", "txt,label\na,good\n")
    with pytest.raises(UserError, match=r"t\.csv:2: expected a column 'text': did you mean 'txt'.*label, txt"):
        read_examples(path, mood, FileLayout())


def test_the_number_of_text_columns_is_the_task_s(mood: TextTask) -> None:
    with pytest.raises(UserError, match=r"mood takes 1 text\(s\), but 2 column\(s\) are named: a, b"):
        read_examples("never read", mood, FileLayout(("a", "b")))


def test_sources_attach_by_id_in_any_order_and_from_a_superset() -> None:
    joined = attach_sources(
        items(("1", "moja", 0), ("2", "mbili", 1)), items(("3", "x", 0), ("2", "two", 1), ("1", "one", 0))
    )
    assert [(item.texts, item.source) for item in joined] == [(("moja",), ("one",)), (("mbili",), ("two",))]


def test_sources_attach_by_row_whatever_the_ids() -> None:
    joined = attach_sources(items(("a", "moja", None)), items(("b", "one", 1)), "row")
    assert joined[0].source == ("one",)
    assert joined[0].id == "a"


def test_files_that_do_not_correspond_are_refused() -> None:
    two, one = items(("1", "a", 0), ("2", "b", 1)), items(("1", "a", 0))
    with pytest.raises(
        UserError,
        match=r"2 rows against 1 in the source language; make rows correspond one to one",
    ):
        attach_sources(two, one, "row")
    with pytest.raises(
        UserError, match=r"f\.csv:3: the id '2' and 0 more have no partner in f\.csv \(2 rows against 1"
    ):
        attach_sources(two, one)
    with pytest.raises(UserError, match=r"f\.csv:2 \(label number 0\) and f\.csv:2 \(label number 1\).*same label"):
        attach_sources(one, items(("1", "a", 1)))
