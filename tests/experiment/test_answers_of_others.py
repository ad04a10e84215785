"""The method `predictions`: another system's answers, from a file, are a row of the table like any other."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

import tiny_questions
from crossflare.cli import main
from crossflare.disk.files import digest_file, read_json
from crossflare.errors import UserError
from crossflare.experiment.promise.check import check
from crossflare.experiment.running.run import run
from crossflare.experiment.steps.context import Context
from crossflare.experiment.steps.graph import all_steps
from crossflare.recipe.read import spec_from
from crossflare.recipe.strict_yaml import GatheredError
from crossflare.report.build import build_report
from tiny_experiment import LABELS, Lab, read_jsonl

IDS = [f"test {number}" for number in range(7)]
SAID = ["bad", "good", "good", "good", "bad", "bad", "bad"]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab(tmp_path_factory.mktemp("lab"), seeds=(0,))


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows as JSONL or, by the path's ending, as a table."""
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writeheader()
        writer.writerows(rows)
    return path


def plain_rows(said: list[str] = SAID) -> list[dict[str, Any]]:
    return [{"id": name, "prediction": label} for name, label in zip(IDS, said, strict=True)]


def recipe(folder: Path, file: Any, targets: tuple[str, ...] = ("es", "sw"), **changes: Any) -> str:
    lab = Lab(folder, targets, seeds=(0,))
    return lab.text({"methods": {"theirs": {"kind": "predictions", "file": file}}, "stage1": "none", **changes})


def records(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    found = [read_json(path) for path in (folder / "records").glob("*.json")]
    return {(each["method"]["name"], each["language"]): each for each in found}


def mistakes(text: str, folder: Path) -> list[str]:
    with pytest.raises(GatheredError) as caught:
        check([Context(spec_from(text, folder), folder / "run")])
    return list(caught.value.lines)


@pytest.mark.parametrize("ending", ["jsonl", "csv", "tsv"])
def test_answers_are_scored_as_they_stand_and_compared_with_every_method(lab: Lab, tmp_path: Path, ending: str) -> None:
    for language in ("es", "sw"):
        write(tmp_path / f"theirs-{language}.{ending}", plain_rows()[::-1])  # in any order
    methods = {"theirs": {"kind": "predictions", "file": f"{tmp_path}/theirs-{{language}}.{ending}"}, "lora": None}
    ran = run(lab.spec({"methods": methods, "name": f"compared-{ending}"}), tmp_path / "runs", workers=1)
    found = records(ran)["theirs", "sw"]
    lines = read_jsonl(ran / found["predictions"])
    assert [(row["id"], LABELS[row["prediction"]]) for row in lines] == list(zip(IDS, SAID, strict=True))
    gold = [LABELS[number % 2] for number in range(7)]
    assert found["scores"]["accuracy"] == pytest.approx(sum(a == b for a, b in zip(SAID, gold, strict=True)) / 7)
    assert found["signature"]["answers"] == "file"
    assert found["signature"]["model"] == f"theirs-{{language}}.{ending}"
    assert found["signature"]["model_digest"] == digest_file(tmp_path / f"theirs-sw.{ending}")[:12]
    results = build_report(ran).results
    told = results.cells["accuracy", "theirs", "macro"]
    assert told.score is not None
    assert str(told.signature).endswith("|answers:file")
    assert results.cells["accuracy", "theirs", "sw"].against is not None  # the difference from lora, paired
    assert results.cells["accuracy", "theirs", "macro"].against is not None


def test_it_needs_no_model_and_no_training_row(tmp_path: Path) -> None:
    write(tmp_path / "theirs.jsonl", plain_rows())
    text = recipe(tmp_path, str(tmp_path / "theirs.jsonl"), targets=("sw",), model={"name": "nowhere/at-all"})
    task = json.loads(text)
    task["task"]["files"] = {"sw": {"test": task["task"]["files"]["sw"]["test"]}}
    spec = spec_from(json.dumps(task), tmp_path)
    assert [step.kind for step in all_steps(Context(spec, tmp_path / "run"))] == ["predict"]
    assert set(records(run(spec, tmp_path / "runs", workers=1))) == {("theirs", "sw")}


def test_probabilities_are_kept_and_columns_have_the_names_that_predict_gives_them(tmp_path: Path) -> None:
    shares = [(0.9, 0.1), (0.25, 0.75), (0.4, 0.6), (0.0, 1.0), (0.66, 0.33), (0.5, 0.5), (1.0, 0.0)]
    said = ["bad", "good", "good", "good", "bad", "good", "bad"]
    rows = list(zip(plain_rows(said), shares, strict=True))
    write(tmp_path / "p-es.csv", [{**row, "p(bad)": bad, "p(good)": good} for row, (bad, good) in rows])
    inside = [{**row, "probabilities": {"bad": bad, "good": good}} for row, (bad, good) in rows]
    write(tmp_path / "p-sw.jsonl", inside)
    methods = {
        "table": {"kind": "predictions", "languages": ["es"], "file": "p-{language}.csv"},
        "json": {"kind": "predictions", "languages": ["sw"], "file": "p-{language}.jsonl"},
    }
    ran = run(spec_from(recipe(tmp_path, "", methods=methods), tmp_path), tmp_path / "runs", workers=1)
    found = records(ran)
    kept = [read_jsonl(ran / found[place]["predictions"]) for place in (("table", "es"), ("json", "sw"))]
    for mine in kept:
        assert [LABELS[row["prediction"]] for row in mine] == said  # also where both are equally probable
        assert mine[0]["log_probabilities"] == pytest.approx([-0.105361, -2.302585], abs=1e-5)
        assert mine[4]["log_probabilities"] == pytest.approx(
            [-0.405465, -1.098612], abs=1e-5
        )  # 0.66 and 0.33 as shares
    assert build_report(ran).results.calibrated == {}


def test_seeds_may_have_files_of_their_own(tmp_path: Path) -> None:
    for seed, said in enumerate((SAID, ["bad"] * 7)):
        write(tmp_path / f"s{seed}-sw.jsonl", plain_rows(said))
    text = recipe(tmp_path, "s{seed}-{language}.jsonl", targets=("sw",), seeds=[0, 1])
    ran = run(spec_from(text, tmp_path), tmp_path / "runs", workers=1)
    results = build_report(ran).results
    cell = results.cells["accuracy", "theirs", "sw"]
    assert len(set(cell.by_seed)) == 2
    assert cell.signature is not None
    assert len(cell.signature.model_digest) == 12


def test_another_file_is_another_result(tmp_path: Path) -> None:
    write(tmp_path / "theirs.jsonl", plain_rows())
    text = recipe(tmp_path, "theirs.jsonl", targets=("sw",))
    before = [step.id for step in all_steps(Context(spec_from(text, tmp_path), tmp_path))]
    write(tmp_path / "theirs.jsonl", plain_rows(["bad"] * 7))
    after = [step.id for step in all_steps(Context(spec_from(text, tmp_path), tmp_path))]
    assert before != after


def test_answers_to_questions_are_compared_as_texts(tmp_path: Path) -> None:
    asked = tiny_questions.squad("es", "test")["data"][0]["paragraphs"]
    rows = [{"id": each["qas"][0]["id"], "prediction": each["qas"][0]["answers"][0]["text"]} for each in asked]
    rows[1]["prediction"], rows[2]["prediction"] = "", "nothing of it"
    write(tmp_path / "theirs-es.jsonl", rows)
    made = tiny_questions.recipe(
        tmp_path, "bert", {"theirs": {"kind": "predictions", "file": "theirs-{language}.jsonl"}}
    )
    spec = spec_from(json.dumps(made | {"stage1": "none"}), tmp_path)
    ran = run(spec, tmp_path / "runs", workers=1)
    assert records(ran)["theirs", "es"]["scores"] == {"exact_match": pytest.approx(0.6), "f1": pytest.approx(0.6)}
    assert build_report(ran).results.cells["f1", "theirs", "es"].score is not None


def test_a_file_of_all_languages_is_read_by_where(tmp_path: Path) -> None:
    rows = [{**row, "lang": language} for language in ("es", "sw") for row in plain_rows()]
    write(tmp_path / "all.csv", rows)
    text = recipe(tmp_path, {"path": "all.csv", "where": {"lang": "{language}"}})
    assert len(records(run(spec_from(text, tmp_path), tmp_path / "runs", workers=1))) == 2


def changed(place: int, **cells: Any) -> list[dict[str, Any]]:
    rows = plain_rows()
    rows[place] = {**rows[place], **cells}
    return rows


SUM = "theirs.jsonl:1: expected probabilities from 0 to 1 with sum 1; got"
BAD = {
    "unknown id": (
        changed(2, id="test 99"),
        "theirs.jsonl:3: no test row in 'sw' has the id 'test 99': they are such as 'test 0'",
    ),
    "doubled id": (
        changed(2, id="test 0"),
        "theirs.jsonl:3: the id 'test 0' is answered at {path}:1 already; keep one answer",
    ),
    "missing id": (plain_rows()[:5], "no answer for the row 'test 5' ({data}:7) and for 1 more of 7"),
    "unknown label": (changed(3, prediction="godo"), "theirs.jsonl:4: unknown label 'godo': did you mean 'good'?"),
    "no label": (changed(3, prediction=""), "theirs.jsonl:4: expected a label, found none"),
    "no column": ([{"id": name, "says": "bad"} for name in IDS], "theirs.jsonl:1: expected a column 'prediction'"),
    "sum": (changed(0, probabilities={"bad": 0.9, "good": 0.3}), SUM),
    "negative": (changed(0, probabilities={"bad": 1.2, "good": -0.2}), SUM),
    "no number": (changed(0, probabilities={"bad": "much", "good": 0}), SUM),
    "not all": (
        changed(0, probabilities={"bad": 1.0}),
        "theirs.jsonl:1: expected a probability for each of the labels bad, good",
    ),
    "another label": (
        changed(0, probabilities={"bad": 0.1, "good": 0.9}),
        "theirs.jsonl:1: the answer is 'bad', but its probabilities say 'good'",
    ),
    "only some": (
        changed(0, probabilities={"bad": 1.0, "good": 0.0}),
        "theirs.jsonl:2: only some rows have probabilities",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_named_with_its_line_before_anything_is_made(tmp_path: Path, name: str) -> None:
    rows, said = BAD[name]
    path = write(tmp_path / "theirs.jsonl", rows)
    lines = mistakes(recipe(tmp_path, "theirs.jsonl", targets=("sw",)), tmp_path)
    assert len(lines) == 1
    assert said.format(path=path, data=tmp_path / "data" / "sw" / "test.csv") in lines[0]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    lines = mistakes(recipe(tmp_path, "theirs-{language}.jsonl"), tmp_path)
    assert [line.split(": ")[1].split(",")[0] for line in lines] == [
        f"expected a file at {tmp_path}/theirs-{language}.jsonl" for language in ("es", "sw")
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kind": "predictions"}, "methods.theirs: missing `file`: where the answers are"),
        ({"kind": "predictions", "file": "a.csv"}, "names one file for several languages; write {language} in it"),
        ({"kind": "predictions", "file": {"path": "{language}.csv", "texts": ["x"]}}, "file.texts: means nothing"),
        ({"kind": "predictions", "file": "{language}.csv", "lr": 1}, "lr: means nothing here: predictions takes file"),
        ({"kind": "ensemble", "of": "other"}, "no trained method 'other' to read"),
        ({"kind": "lora", "file": "a.csv"}, "file: means nothing here"),
    ],
)
def test_a_recipe_that_makes_no_sense(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    other = {"kind": "predictions", "file": "other-{language}.csv"}
    with pytest.raises(UserError) as caught:
        spec_from(recipe(tmp_path, "", methods={"theirs": options, "other": other}), tmp_path)
    assert said in str(caught.value)


def test_inspect_writes_the_rows_with_the_ids_that_answers_need(
    lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = lab.write(methods=("zero-shot",))
    assert main(["inspect", str(path), "--rows", str(tmp_path / "rows")]) == 0
    rows = read_jsonl(tmp_path / "rows" / "sw.jsonl")
    assert [row["id"] for row in rows] == IDS
    assert set(rows[0]) == {"id", "text"}
    capsys.readouterr()


@pytest.mark.parametrize(
    "file", ["a-{language}.csv", {"path": "all.csv", "id": "row", "label": "said", "where": {"lang": "{language}"}}]
)
def test_what_is_written_out_reads_back_equal(tmp_path: Path, file: Any) -> None:
    spec = spec_from(recipe(tmp_path, file), tmp_path)
    assert spec_from(spec.to_yaml(), tmp_path) == spec
    assert spec_from(spec.to_yaml(), tmp_path).methods[0].file == spec.methods[0].file
