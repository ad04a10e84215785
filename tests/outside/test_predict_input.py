"""predict takes what recipes take, and what makes a whole call impossible is refused before a model is loaded."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import crossflare.serving.file as prediction
from crossflare.errors import UserError
from crossflare.recipe.methods import KINDS
from crossflare.recipe.spec import ModelSpec
from crossflare.serving.card import Saved
from crossflare.serving.file import Column, predict_file
from crossflare.serving.intake import Intake
from crossflare.tasks.columns import read_examples
from crossflare.tasks.files import read_rows
from crossflare.tasks.kinds import TextTask
from crossflare.tasks.layout import FileLayout


class Unreachable(Exception):
    """The model was asked for."""


TASK = TextTask("opinions", 1, ("bad", "good"))


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """An adapter that is never opened: what is refused is refused before."""
    card = {"task": {"name": "opinions", "labels": ["bad", "good"], "texts": 1}, "kind": "flare", "source": "en"}
    (tmp_path / "manifest.json").write_text("{}")
    saved = Saved(tmp_path, card, TASK, KINDS["flare"], ModelSpec("base"), None)
    monkeypatch.setattr(prediction, "open_saved", lambda folder: saved)

    def load(*given: Any, **options: Any) -> None:
        raise Unreachable("the model was loaded")

    monkeypatch.setattr(prediction, "load_trained", load)
    return card


def test_a_null_source_is_none_as_in_recipes(tmp_path: Path) -> None:
    cells = [{"text": "a", "label": "good", "english": None}, {"text": "b", "label": "bad", "english": "c"}]
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in cells))
    (chunk,) = Intake(TASK, path, sources=("english",)).chunks(0)
    theirs = read_examples(path, TASK, FileLayout(source_texts=("english",)))
    assert [each.source for each in chunk.examples] == [each.source for each in theirs] == [None, ("c",)]


@pytest.mark.parametrize("last", [{"text": None}, {"text": 3}, {"text": "\udc00"}, {"english": 4}], ids=str)
def test_strict_reads_every_row_before_the_model_is(card: dict[str, Any], tmp_path: Path, last: dict[str, Any]) -> None:
    whole = [{"id": n, "text": "a", "english": "b"} for n in range(3)]
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in [*whole, {**whole[0], "id": 9, **last}]))
    given: Any = {"adapter": tmp_path, "input": path, "output": tmp_path / "out.csv", "source": Column(("english",))}
    with pytest.raises(UserError, match=r"in\.jsonl:4: "):
        predict_file(**given, strict=True)
    with pytest.raises(Unreachable):  # else it gets as far as the model
        predict_file(**given)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["in.jsonl", "manifest.json"]


def test_a_text_file_has_a_text_on_each_line(card: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "in.txt"
    path.write_text("one, two\n\n\u2028three\n", encoding="utf-8")
    with pytest.raises(Unreachable):  # it gets as far as the model
        predict_file(adapter=tmp_path, input=path, output=tmp_path / "out.csv", source=None, no_source=True)
    path = path.rename(tmp_path / "in.pdf")
    with pytest.raises(UserError, match="unknown kind of file"):
        predict_file(adapter=tmp_path, input=path, output=tmp_path / "out.csv", source=None, no_source=True)


def test_a_duration_in_another_column_stops_nothing(tmp_path: Path) -> None:
    table = pa.table({"text": ["a", "b"], "took": pa.array([2**62, None], pa.duration("s"))})
    pq.write_table(table, tmp_path / "in.parquet")
    read = read_rows(tmp_path / "in.parquet")
    assert [row.text("text") for row in read] == ["a", "b"]
    assert [row.cells["took"] for row in read] == [str(2**62), None]


def test_ten_thousand_columns_make_a_short_message(tmp_path: Path) -> None:
    names = [f"column {number}" for number in range(10_000)]
    path = tmp_path / "in.csv"
    path.write_text(",".join(names) + "\n" + ",".join("x" * 10_000) + "\n" + "too,few\n")
    with pytest.raises(UserError) as few:
        read_rows(path)
    path.write_text(",".join(names) + "\n" + ",".join("x" * 10_000) + "\n")
    with pytest.raises(UserError) as lacking:
        read_rows(path)[0].text("text")
    for error in (few, lacking):
        assert "and 9988 more" in str(error.value)
        assert len(str(error.value)) < 500


def test_a_review_is_not_printed_as_the_name_of_a_column(tmp_path: Path) -> None:
    review = "the rooms were clean and the staff was kind, but " * 30
    path = tmp_path / "in.tsv"
    path.write_text(f"{review}\tgood\nanother\tbad\n")
    with pytest.raises(UserError) as error:
        read_rows(path)[0].text("text")
    assert len(str(error.value)) < 400
    assert "put a line with their names above it" in str(error.value)
