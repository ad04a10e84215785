"""A step that fails stops those that need it, and no others."""

import re
from pathlib import Path
from typing import Any

import pytest

import crossflare.experiment.making.make as making
from crossflare.disk.files import read_json
from crossflare.errors import UserError
from crossflare.experiment.running.board import Board
from crossflare.experiment.running.run import run
from crossflare.experiment.running.worker import work
from crossflare.experiment.steps.context import Context
from crossflare.experiment.steps.graph import Graph, all_steps, build_graph
from crossflare.experiment.steps.prediction import PredictionStep
from crossflare.experiment.steps.step import check_ready
from crossflare.recipe.spec import Spec
from fake_steps import FakeMake
from tiny_experiment import Lab

SMALL = {"stage1.epochs": 1, "stage1.evaluations": 1, "seeds": [0]}


def small(lab: Lab, changes: dict[str, Any], *methods: str) -> Spec:
    """Return a recipe in one language with one seed and hardly any training."""
    files = {language: lab.recipe["task"]["files"][language] for language in ("en", "es")}
    return lab.spec({**SMALL, "targets": ["es"], "task.files": files, **changes}, methods)


def test_a_step_that_fails_takes_only_those_along_that_need_it(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = small(lab, {}, "zero-shot", "translate-test", "lora", "flare", "ensemble", "flare-no-source")
    made: list[str] = []

    def fake(step: Any) -> None:
        check_ready(step)
        made.append(f"{step.kind} {step.label}")
        if made[-1] == "stage 2 lora, es, seed 0":
            raise UserError("the loss is nan")
        done = step.record if isinstance(step, PredictionStep) else step.path / "crossflare.json"
        for path in (done, *([step.predictions] if isinstance(step, PredictionStep) else [])):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("{}")

    monkeypatch.setattr(making, "make", fake)
    with pytest.raises(UserError) as caught:
        run(spec, tmp_path, workers=1)
    assert "stage 2 lora, es, seed 0: the loss is nan" in str(caught.value)
    assert "2 more need" in str(caught.value)
    assert {path.stem for path in (tmp_path / "tiny" / "records").glob("*.json")} == {
        step.id for step in all_steps(Context(spec, tmp_path))
        if isinstance(step, PredictionStep) and step.method.name not in ("lora", "ensemble")
    }  # fmt: skip
    assert made.count("stage 2 lora, es, seed 0") == 1


def test_a_failing_prediction_leaves_the_other_readers_of_its_adapter_alone(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = Context(small(lab, {}, "flare", "flare-no-source", "oracle", "flare+source"), tmp_path)
    board = Board(build_graph([context]))

    def fake(step: Any) -> None:
        if isinstance(step, PredictionStep) and step.method.name == "flare":
            raise UserError("no engine")
        paths = [step.record, step.predictions] if isinstance(step, PredictionStep) else [step.path / "crossflare.json"]
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("{}")

    monkeypatch.setattr(making, "make", fake)
    work(build_graph([context]))
    board.refresh()
    assert [(each.kind, each.label, each.error) for each in board.failures] == [
        ("predict", "flare, es, seed 0", "no engine")
    ]
    done = {step.label for step in all_steps(context) if isinstance(step, PredictionStep) and step.done()}
    assert done == {"flare-no-source, es, seed 0", "oracle, es, seed 0"}


def test_a_loss_that_is_not_a_number_is_told_with_step_and_checkpoint(lab: Lab, tmp_path: Path) -> None:
    # Such a decay makes the weights grow a thousand times a step: some steps are finite, then none.
    changes = {"lr": 1, "weight_decay": 1e3, "warmup": 0, "epochs": 9, "evaluations": 9}
    spec = small(lab, {"stage2": {**lab.recipe["stage2"], **changes}}, "zero-shot", "lora")
    with pytest.raises(UserError) as caught:
        run(spec, tmp_path, workers=1)
    said = str(caught.value)
    assert "stage 2 lora, es, seed 0: " in said
    assert re.search(r"training stopped before step \d+: the (loss|norm of the gradient) is (nan|inf), on the ro", said)
    records = (tmp_path / "tiny" / "records").glob("*.json")
    assert [read_json(path)["method"]["name"] for path in records] == ["zero-shot"]
    kept = list((tmp_path / "tiny" / "checkpoints").glob("*/step-*"))
    assert kept, "the last good checkpoint stays"
    assert str(kept[-1].parent) in said


def test_a_broken_test_file_is_found_before_anything_is_made(own_lab: Lab, tmp_path: Path) -> None:
    own_lab.edit("es", "test", lambda rows: rows[3].update(label="godo"))
    with pytest.raises(UserError, match=r"es/test\.csv:5: unknown label 'godo': did you mean 'good'\?"):
        run(small(own_lab, {}, "zero-shot"), tmp_path, workers=1)
    assert list(tmp_path.glob("tiny/*")) == []


def test_steps_are_asked_for_in_order(lab: Lab, tmp_path: Path) -> None:
    steps = all_steps(Context(small(lab, {}, "zero-shot"), tmp_path))
    with pytest.raises(UserError, match="zero-shot, es, seed 0: needs en, seed 0 first"):
        making.make(steps[-1])


def test_the_steps_of_a_run_are_listed_once(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed: list[Graph] = []

    def once(*parts: Any) -> Graph:
        listed.append(Graph(*parts))
        return listed[-1]

    monkeypatch.setattr("crossflare.experiment.steps.graph.Graph", once)
    monkeypatch.setattr(making, "make", FakeMake())
    run(small(lab, {}, "zero-shot", "lora", "ensemble"), tmp_path, workers=1)
    assert len(listed) == 1
