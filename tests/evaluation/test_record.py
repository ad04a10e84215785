import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crossflare.disk.files import digest_file
from crossflare.errors import UserError
from crossflare.evaluation.predictions import AnswerPredictions, Predictions, load_predictions
from crossflare.evaluation.record import Record, load_record, save_record, sealed

SIGNATURE = {
    "task": "t", "task_version": "1", "split": "test", "language": "ace", "n": 2, "model": "m", "model_digest": "d",
    "source": "none", "method": "lora", "seeds": [1], "data": "x", "version": "0",
}  # fmt: skip
RECORD = Record(
    run_id="r1", spec_name="s", method={"name": "lora", "kind": "lora"}, language="ace", seed=1,
    task={"name": "t", "version": "1", "labels": ["no", "yes"]}, scores={"accuracy": 0.5, "macro_f1": 0.4},
    signature=SIGNATURE, predictions="predictions/r1.jsonl", training={"lr": 1e-4, "curve": [{"step": 1, "loss": 0.5}]},
)  # fmt: skip


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    save_record(tmp_path / "r1.json", RECORD)
    assert load_record(tmp_path / "r1.json") == RECORD
    assert load_record(tmp_path / "r1.json").signature_of("accuracy").metric == "accuracy"


def test_optional_fields_may_be_missing(tmp_path: Path) -> None:
    path = tmp_path / "r1.json"
    save_record(path, RECORD)
    values = json.loads(path.read_text())
    for name in ("model", "data", "translation", "counts", "training", "timings", "hardware", "versions"):
        del values[name]
    del values["sha256"]
    path.write_text(json.dumps(values))
    assert load_record(path).training == {}, "as an older version wrote it"


@pytest.mark.parametrize(
    "change",
    [
        {"scores": {"accuracy": 0.51, "macro_f1": 0.4}},
        {"seed": 2},
        {"sha256": "0" * 64},
        {"sha256": None},
        {"training": {"lr": float("nan")}},
        {"extra": 1},
    ],
)
def test_a_record_changed_by_hand_is_found_by_its_hash(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "r1.json"
    save_record(path, RECORD)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(
        UserError, match=r"r1\.json: .*found it changed \(its sha256 differs\); delete it and run again"
    ):
        load_record(path)


def test_a_record_written_with_other_blanks_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "r1.json"
    save_record(path, RECORD)
    path.write_text(json.dumps(dict(reversed(json.loads(path.read_text()).items()))))
    assert load_record(path) == RECORD


def test_every_cut_of_a_record_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r1.json"
    save_record(path, RECORD)
    whole = path.read_text().rstrip()
    for length in range(len(whole)):
        path.write_text(whole[:length])
        with pytest.raises(UserError, match=r"r1\.json"):
            load_record(path)


@pytest.mark.parametrize(("format_", "words"), [(2, "upgrade crossflare, or delete it"), (0, "got 0; delete it and")])
def test_a_record_of_another_format_says_what_to_do(tmp_path: Path, format_: int, words: str) -> None:
    path = tmp_path / "r1.json"
    save_record(path, RECORD)
    path.write_text(json.dumps({"format": format_, "new": json.loads(path.read_text())}))
    with pytest.raises(UserError, match=words):
        load_record(path)


@pytest.mark.parametrize("score", [-0.1, 1.5, 87.4])
def test_a_score_outside_of_0_to_1_is_not_saved(tmp_path: Path, score: float) -> None:
    with pytest.raises(UserError, match="accuracy"):
        save_record(tmp_path / "r.json", replace(RECORD, scores={"accuracy": score}))
    assert not (tmp_path / "r.json").exists()


@pytest.mark.parametrize("change", [{"scores": {"f1": float("nan")}}, {"timings": {"predict": float("inf")}}])
def test_what_is_no_number_is_not_saved(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"r1\.json: expected"):
        save_record(tmp_path / "r1.json", replace(RECORD, **change))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 2}, "record of format 1, got 2"),
        ({"seed": "one"}, "seed as int, got 'one'"),
        ({"method": {"kind": "lora"}}, "method.name as str"),
        ({"scores": {"accuracy": 55.0}}, "accuracy between 0 and 1, got 55.0"),
        ({"signature": {}}, "expected a signature of"),
        ({"extra": 1}, "'extra'"),
        ({"run_id": None}, "'run_id'|run_id as str"),
        ({"counts": [1]}, "counts as dict"),
    ],
)
def test_a_wrong_record_names_its_file_and_what_to_do(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    path = tmp_path / "r1.json"
    save_record(path, RECORD)
    path.write_text(json.dumps(sealed(json.loads(path.read_text()) | change)))
    with pytest.raises(UserError, match=words) as caught:
        load_record(path)
    assert str(path) in str(caught.value)
    assert "delete it and run again" in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": 1}'])
def test_a_damaged_record_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "r1.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"r1\.json.*delete it"):
        load_record(path)


def row(**values: Any) -> str:
    base = {"id": "a", "gold": 0, "prediction": 1, "log_probabilities": [-1.0, -0.5], "correct": 0}
    return json.dumps(base | values, ensure_ascii=False)


def test_predictions_become_arrays_in_file_order(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(row() + "\n" + row(id="b\u2028c", gold=1, prediction=-1) + "\n", encoding="utf-8")
    loaded = load_predictions(path)
    assert isinstance(loaded, Predictions)
    assert loaded.ids == ("a", "b\u2028c")
    assert loaded.gold.tolist() == [0, 1]
    assert loaded.predicted.tolist() == [1, -1]
    assert np.allclose(loaded.log_probabilities, [[-1.0, -0.5]] * 2)


def test_log_probabilities_are_optional(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('{"id": "a", "gold": 0, "prediction": 0}\n')
    loaded = load_predictions(path)
    assert isinstance(loaded, Predictions)
    assert loaded.log_probabilities.shape == (1, 0)


def answer(**values: Any) -> str:
    base = {"id": "a", "gold": ["one", "1"], "prediction": "one", "exact_match": 1.0, "f1": 1.0, "score": -0.5}
    return json.dumps(base | values, ensure_ascii=False)


def test_answers_become_texts_and_scores_in_file_order(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(answer() + "\n" + answer(id="b", prediction="", exact_match=0, f1=0.25) + "\n", encoding="utf-8")
    loaded = load_predictions(path)
    assert isinstance(loaded, AnswerPredictions)
    assert loaded.ids == ("a", "b")
    assert loaded.golds == (("one", "1"),) * 2
    assert loaded.texts == ("one", "")
    assert {name: column.tolist() for name, column in loaded.values.items()} == {"exact_match": [1, 0], "f1": [1, 0.25]}


def test_a_position_match_is_read_where_there_is_one(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(answer(position_match=0.0) + "\n" + answer(id="b", position_match=1.0) + "\n")
    loaded = load_predictions(path)
    assert isinstance(loaded, AnswerPredictions)
    assert loaded.values["position_match"].tolist() == [0, 1]
    taken = loaded.take([1, 0])
    assert (taken.ids, taken.values["position_match"].tolist()) == (("b", "a"), [1, 0])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (answer() + "\n" + answer()[:-5], r"p\.jsonl:2: .*damaged"),
        (answer() + "\n" + row(), r"p\.jsonl:2"),
        (row() + "\n" + answer(), r"p\.jsonl:2"),
        (answer(gold=[]), r"p\.jsonl:1"),
        (answer(gold=[1]), r"p\.jsonl:1"),
        (answer(gold="one"), r"p\.jsonl:1"),
        (answer(prediction=None), r"p\.jsonl:1"),
        (answer(prediction=3), r"p\.jsonl:1"),
        (answer(f1=1.5), r"p\.jsonl:1"),
        (answer(f1=float("nan")), r"p\.jsonl:1"),
        (answer(exact_match="yes"), r"p\.jsonl:1"),
        ('{"id": "a", "gold": ["x"], "prediction": "x", "f1": 1.0}', r"p\.jsonl:1"),
        (answer() + "\n" + answer(position_match=1.0), "same scores in every row, got position_match in some"),
    ],
)
def test_damaged_answers_name_the_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(text)
    with pytest.raises(UserError, match=words) as caught:
        load_predictions(path)
    assert "delete its record and run again" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", r"p\.jsonl:1"),
        (row() + "\n" + row()[:-5], r"p\.jsonl:2: .*damaged"),
        (row(gold="x"), r"p\.jsonl:1"),
        (row(gold=None), r"p\.jsonl:1"),
        (row(prediction=0.5), r"p\.jsonl:1"),
        ("[1]", r"p\.jsonl:1"),
        (row() + "\n" + row(log_probabilities=[0.0]), "unequal rows"),
    ],
)
def test_damaged_predictions_name_the_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(text)
    with pytest.raises(UserError, match=words):
        load_predictions(path)


def test_missing_predictions_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.jsonl: expected predictions"):
        load_predictions(tmp_path / "none.jsonl")


def test_predictions_that_are_not_those_of_the_record_are_named(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(row() + "\n" + row(id="b") + "\n")
    known = digest_file(path)
    assert load_predictions(path, known).ids == ("a", "b")
    path.write_text(row() + "\n" + row(id="b", prediction=0) + "\n")
    with pytest.raises(UserError, match=r"p\.jsonl: .*found them changed .*; delete its record and run again"):
        load_predictions(path, known)
    with pytest.raises(UserError, match=r"none\.jsonl: expected predictions"):
        load_predictions(tmp_path / "none.jsonl", known)
