"""What a message advises can be done, and nothing of a user's is to be deleted."""

import json
import unicodedata
from pathlib import Path

import pytest
import torch

from crossflare.cli import main
from crossflare.disk.files import read_json
from crossflare.errors import UserError
from crossflare.evaluation.record import load_record
from crossflare.experiment.data.rows import Data
from crossflare.experiment.promise.check import cautions
from crossflare.experiment.running.run import run
from crossflare.experiment.steps.context import Context
from crossflare.experiment.steps.models import Stage1
from crossflare.tasks.own import own_questions
from crossflare.tasks.squad import read_questions
from crossflare.training.loop import fit
from tiny_experiment import Lab


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path / "lab", languages=("sw",), seeds=(0,))


def test_what_is_said_of_too_little_memory_can_be_put_into_a_recipe(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run_out(loop: object) -> None:
        raise torch.OutOfMemoryError("of 3 bytes")

    with monkeypatch.context() as patch:
        patch.setattr(fit.TrainingLoop, "run", run_out)
        path = lab.write({}, ("zero-shot",))
        words = ["run", str(path), "--runs", str(lab.folder / "runs"), "--workers", "1"]
        assert main(words) == 2
    said = capsys.readouterr().err
    assert "set batch_size: 2 and accumulation: 2, or activation_checkpointing: true, in the stage" in said
    advised = {"stage1.batch_size": 2, "stage1.accumulation": 2}
    for changes in (advised, {"stage1.activation_checkpointing": True}):
        lab.write(changes, ("zero-shot",))
        assert main(words) == 0, capsys.readouterr().err


def test_half_a_batch_twice_is_as_many_steps(lab: Lab) -> None:
    steps: list[int] = []
    for changes in ({}, {"stage1.batch_size": 2}, {"stage1.batch_size": 2, "stage1.accumulation": 2}):
        folder = run(lab.spec(changes, ("zero-shot",)), lab.folder / f"runs{len(steps)}", 1)
        steps.append(load_record(next((folder / "records").glob("*.json"))).training["steps"])
    assert steps == [6, 12, 6]


def test_options_that_came_later_leave_the_names_of_older_models_alone(lab: Lab) -> None:
    def id_of(changes: dict[str, object]) -> str:
        return Stage1(Context(lab.spec(changes, ("zero-shot",)), lab.folder), 0).id

    plain = id_of({})
    assert id_of({"stage1.accumulation": 1, "stage1.activation_checkpointing": False}) == plain
    assert len({plain, id_of({"stage1.accumulation": 2}), id_of({"stage1.activation_checkpointing": True})}) == 3
    assert not {"accumulation", "activation_checkpointing"} & lab.spec().stage1.deciding().keys()


def test_a_rate_may_be_written_as_powers_of_ten(lab: Lab) -> None:
    path = lab.write()
    path.write_text(path.read_text().replace('"lr": 0.02', '"lr": 2e-2'))
    assert main(["validate", str(path)]) == 0
    assert main(["validate", str(path), "--set", "stage1.lr=1e-3"]) == 0


def test_nothing_of_a_user_s_is_to_be_deleted(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"data": [')
    for read in (read_json, read_questions):
        with pytest.raises(UserError) as error:
            read(tmp_path / "a.json")
        assert "delete" not in str(error.value)


def question(context: str, answer: str, start: int, **more: object) -> dict[str, object]:
    return {
        "id": "q",
        "question": "?",
        "context": context,
        "answers": {"text": [answer], "answer_start": [start]},
        **more,
    }


@pytest.mark.parametrize(("answer", "context"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_two_unicode_forms_of_an_answer_are_told(tmp_path: Path, answer: str, context: str) -> None:
    text = unicodedata.normalize(context, "ni Yorùbá ni")
    row = question(text, unicodedata.normalize(answer, "Yorùbá"), 3)
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(UserError, match=f"the answer is in {answer}, the context in {context}"):
        read_questions(tmp_path / "a.jsonl")


def test_an_answer_that_is_nowhere_is_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps(question("in Lima", "Quito", 3)) + "\n")
    with pytest.raises(UserError, match="it is nowhere in the context"):
        read_questions(tmp_path / "a.jsonl")


def asked(path: Path, answered: int, open_: int) -> str:
    none = {"text": [], "answer_start": []}
    rows = [question("in Lima", "Lima", 3, id=f"a{n}") for n in range(answered)]
    rows += [question("in Lima", "Lima", 3, id=f"n{n}", answers=none, is_impossible=True) for n in range(open_)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_questions_without_an_answer_are_left_out_and_counted(lab: Lab, tmp_path: Path) -> None:
    whole, some = asked(tmp_path / "whole.jsonl", 4, 0), asked(tmp_path / "some.jsonl", 3, 2)
    files = {"en": {"train": some, "dev": whole}, "sw": {"test": some}}
    data = own_questions("own", files)
    assert [example.id for example in data.split("en", "train")] == ["a0", "a1", "a2"]
    assert (data.left_out("en", "train"), data.left_out("en", "dev")) == (2, 0)
    spec = lab.spec({"task": {"questions": True, "files": files}}, ("zero-shot",))
    said = [line for line in cautions(Data(spec, tmp_path)) if "no answer" in line]
    why = (
        "2 of 5 questions have no answer and are left out: only answers that stand in the context are learnt and scored"
    )
    assert said == [f"en train: {why}", f"sw test: {why}"]


def test_a_file_without_any_answer_is_unlabelled(tmp_path: Path) -> None:
    data = own_questions("own", {"sw": {"test": asked(tmp_path / "none.jsonl", 0, 2)}})
    assert (len(data.split("sw", "test")), data.left_out("sw", "test")) == (2, 0)


def test_a_file_in_the_place_of_the_runs_is_named_as_that(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    runs = lab.folder / "runs"
    runs.write_text("")
    assert main(["run", str(lab.write({}, ("zero-shot",))), "--runs", str(runs), "--workers", "1"]) == 2
    said = capsys.readouterr().err
    assert "a file stands where a folder is needed: move it away, or choose another folder" in " ".join(said.split())
    assert "free space" not in said


def test_rows_that_a_dictionary_learns_from_are_not_offered_to_stay_unaligned(lab: Lab) -> None:
    lab.edit("sw", "train", lambda rows: rows[0].update(id="another"))
    learns = {"translation.to_source": {"engine": "dictionary", "learn": "train"}}
    for changes, offered in (({}, True), (learns, False)):
        with pytest.raises(UserError) as caught:
            Data(lab.spec(changes, ("lora", "translate-test")), lab.folder / "runs").check()
        assert ("align: none" in str(caught.value)) is offered
