"""A run says what it has finished, with scores and the time that is left, whoever made it."""

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import crossflare.experiment.making.make as making
from crossflare import progress
from crossflare.evaluation.predictions import AnswerPredictions, first_look
from crossflare.experiment.running.board import Board
from crossflare.experiment.running.news import Made, News, Reader, note
from crossflare.experiment.running.plan import Pace
from crossflare.experiment.running.worker import work
from crossflare.experiment.steps.context import Context
from crossflare.experiment.steps.graph import all_steps, build_graph
from crossflare.recipe.spec import Spec
from fake_steps import FakeMake
from tiny_experiment import Lab


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Spec:
    lab = Lab(tmp_path_factory.mktemp("lab"))
    files = {language: lab.recipe["task"]["files"][language] for language in ("en", "es")}
    return lab.spec({"targets": ["es"], "task.files": files, "seeds": [0]}, ("zero-shot", "lora", "flare"))


@pytest.fixture
def log() -> io.StringIO:
    return io.StringIO()


def plain(line: str) -> str:
    """Return a line without its times."""
    return re.sub(r" \([\d.]+ s\)|; about .* left|[\d.]+ s(?=,|$)", "", line)


def told(log: io.StringIO) -> list[str]:
    return [plain(line) for line in log.getvalue().splitlines()]


def test_a_line_for_each_step_with_the_score_of_a_prediction(
    spec: Spec, tmp_path: Path, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "make", FakeMake())
    with progress.display(Console(file=log)):
        work(build_graph([Context(spec, tmp_path / "tiny")]))
    assert told(log) == [
        "step 1 of 6 done: stage 1 en, seed 0",
        "step 2 of 6 done: Spanish  zero-shot  accuracy 100.0 (100.0–100.0), seed 0",
        "step 3 of 6 done: stage 2 lora, es, seed 0",
        "step 4 of 6 done: Spanish  lora  accuracy 100.0 (100.0–100.0), seed 0",
        "step 5 of 6 done: stage 2 flare, es, seed 0",
        "step 6 of 6 done: Spanish  flare  accuracy 100.0 (100.0–100.0), seed 0",
        "time of the steps: stage 1 , predict , stage 2 ",
    ]
    log.truncate(0)
    with progress.display(Console(file=log)):
        work(build_graph([Context(spec, tmp_path / "tiny")]))
    assert told(log) == []  # what was done before is no news


def test_what_another_worker_made_is_said_too(
    spec: Spec, tmp_path: Path, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `share` and `on_ray` see it: files and lines of the log that appear from elsewhere."""
    fake, context = FakeMake(), Context(spec, tmp_path / "tiny")
    before, other, *_ = all_steps(Context(spec, tmp_path / "tiny"))
    fake(before)
    moved: list[int] = []

    def advance(done: int, /, note: str = "", left: float | None = None) -> None:
        moved.append(done)

    with progress.display(Console(file=log)):
        news = News(Board(build_graph([context])), advance)
        fake(other)
        news.refresh()  # its files are there, its line is not yet
        assert told(log) == []
        note(context.shared, Made(other.id, other.kind, other.label, 41.0))
        news.refresh()
        news.refresh()
    assert log.getvalue().splitlines() == [
        "step 2 of 6 done: Spanish  zero-shot  accuracy 100.0 (100.0–100.0), seed 0 (41 s)"
    ]
    assert sum(moved) == 2


def test_a_failure_is_said_when_it_happens(
    spec: Spec, tmp_path: Path, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(step: Any) -> Exception | None:
        return ValueError("the loss is [nan]") if step.kind == "stage 2" and step.method.name == "lora" else None

    monkeypatch.setattr(making, "make", FakeMake(fails))
    with progress.display(Console(file=log)):
        work(build_graph([Context(spec, tmp_path / "tiny")]))
    lines = told(log)
    assert lines[2] == "failed: stage 2 lora, es, seed 0: ValueError: the loss is [nan]"
    assert len(lines) == 6
    assert sum(line.startswith("step ") for line in lines) == 4


def test_the_rest_takes_as_long_as_its_like(spec: Spec, tmp_path: Path) -> None:
    """12 rows in batches of 4 for two epochs are 6 optimizer steps for every training; there are 7 test rows."""
    stage1, zero, lora, read, flare, read_flare = all_steps(Context(spec, tmp_path / "tiny"))
    pace = Pace()
    assert pace.left([stage1], 1) is None
    pace.add(stage1, 6.0)
    assert pace.left([lora, flare], 1) == 12.0  # nothing but stage 1 is known
    assert pace.left([lora, zero], 1) is None  # and nothing of predictions
    pace.add(lora, 12.0)
    assert pace.left([lora], 1) == 12.0
    assert pace.left([flare], 1) == 9.0  # between the two
    pace.add(zero, 7.0)
    assert pace.left([lora, read, read_flare], 2) == (12 + 7 + 7) / 2
    assert pace.left([], 1) == 0


def test_the_log_is_read_as_it_grows_and_a_line_that_is_cut_off_waits(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    assert reader.new() == []
    note(tmp_path, Made("a", "stage 1", "en, seed 0", 1.5))
    assert reader.new() == [Made("a", "stage 1", "en, seed 0", 1.5)]
    with (tmp_path / "made.jsonl").open("a") as file:
        file.write('not JSON\n[]\n{"id": "b", "kind": "predict", "la')
        file.flush()
        assert reader.new() == []
        file.write('bel": "é", "seconds": 2}\n')
    assert reader.new() == [Made("b", "predict", "é", 2.0)]


def test_predictions_that_cannot_be_read_cost_the_score_and_not_the_run(
    spec: Spec, tmp_path: Path, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Damaging(FakeMake):
        def __call__(self, step: Any) -> None:
            super().__call__(step)
            if step.kind == "predict":
                step.predictions.write_text("{")

    monkeypatch.setattr(making, "make", Damaging())
    with progress.display(Console(file=log)):
        work(build_graph([Context(spec, tmp_path / "tiny")]))
    assert told(log)[1] == "step 2 of 6 done: predict zero-shot, es, seed 0"


def test_questions_have_a_score_too() -> None:
    values = {"exact_match": [0.0, 1.0], "f1": [0.5, 1.0]}
    columns = {name: np.array(column) for name, column in values.items()}
    found = AnswerPredictions(("a", "b"), (("x",), ("y",)), ("x", "y"), columns)
    assert first_look(found, 0, "f1").score == 0.75
