"""Cells of a grid share what they agree on, are made in an order that soon shows something, and fail alone."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import crossflare.experiment.making.make as making
from crossflare.disk.files import read_json
from crossflare.errors import UserError
from crossflare.experiment.running.board import Board, Failure, ids_of, load_failures, save_failure
from crossflare.experiment.running.plan import count, plan
from crossflare.experiment.running.run import StepsFailedError, run
from crossflare.experiment.running.worker import _make_one
from crossflare.experiment.steps.graph import all_steps, build_graph, contexts_of
from crossflare.experiment.steps.models import Stage1, Stage2
from crossflare.experiment.steps.prediction import PredictionStep
from crossflare.recipe.grid import Recipe, load_recipe
from crossflare.recipe.read import load_spec
from fake_steps import FakeMake
from tiny_experiment import Lab, results

GRID = {
    "data": {"few": {"task": {"limit": {"train": 8}}}, "all": None},
    "rank": {"r2": {"stage2": {"r": 2}}, "r4": None},
}
METHODS = ("zero-shot", "lora")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab(tmp_path_factory.mktemp("lab"))


Load = Callable[..., Recipe]


@pytest.fixture
def load(lab: Lab, tmp_path: Path) -> Load:
    def load(grid: dict[str, Any] = GRID, only: tuple[str, ...] = (), **changes: Any) -> Recipe:
        files = {language: lab.recipe["task"]["files"][language] for language in ("en", "es")}
        made = json.loads(lab.text({"targets": ["es"], "task.files": files, **changes}, METHODS))
        (tmp_path / "grid.yaml").write_text(json.dumps({**made, "grid": grid}))
        return load_recipe(tmp_path / "grid.yaml", only=only)

    return load


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeMake:
    made = FakeMake()
    monkeypatch.setattr(making, "make", made)
    return made


def test_every_cell_has_its_first_seed_before_any_has_its_second(load: Load, tmp_path: Path) -> None:
    contexts = contexts_of(load(seeds=[5, 3]), tmp_path)
    steps = all_steps(*contexts)
    shown = [(step.context.folder.name, step.seed) for step in steps if isinstance(step, PredictionStep)]
    cells = ["few,r2", "few,r4", "all,r2", "all,r4"]
    assert list(dict.fromkeys(shown)) == [(cell, seed) for seed in (5, 3) for cell in cells]
    assert len(shown) == 4 * 2 * len(METHODS)
    for place, step in enumerate(steps):  # and each after those it needs, of its own cell
        mine = [other for other in steps[:place] if other.context is step.context]
        assert all(needed in mine for needed in step.needs())


def test_what_cells_agree_on_is_made_once(load: Load, tmp_path: Path, fake: FakeMake) -> None:
    recipe = load()
    top = run(recipe, tmp_path / "runs", workers=1)
    counted, _ = count(recipe)
    # One stage 1 for each data and seed: the ranks share it; the adapters differ.
    assert len(list(top.glob("models/*"))) == counted.stage1 + counted.adapters == 2 * 2 + 4 * 2
    assert len([each for each in fake.made if each.startswith("stage 1")]) == 4
    log = [json.loads(line) for line in (top / "made.jsonl").read_text().splitlines()]
    assert len(log) == len(fake.made) == 12 + counted.predictions
    for cell in recipe.cells:
        folder = top / "cells" / cell.name
        assert len(list(folder.glob("records/*.json"))) == 4
        assert load_spec(folder / "spec.yaml") == cell.spec
        links = list((folder / "adapters").iterdir())
        assert len(links) == 2
        assert all(link.resolve().parent == (top / "models").resolve() for link in links)
    assert [cell["name"] for cell in read_json(top / "grid.json")["cells"]] == [cell.name for cell in recipe.cells]
    made = len(fake.made)
    assert run(recipe, tmp_path / "runs", workers=1) == top
    assert len(fake.made) == made  # nothing was missing
    assert all(step.done for step in plan(recipe, tmp_path / "runs"))
    assert len(plan(recipe, tmp_path / "runs")) == made


def test_a_cell_has_the_ids_of_its_recipe_alone(load: Load, tmp_path: Path) -> None:
    recipe = load()
    for cell, context in zip(recipe.cells, contexts_of(recipe, tmp_path), strict=True):
        (alone,) = contexts_of(Recipe.of(cell.spec), tmp_path / "alone")
        assert [step.id for step in all_steps(context)] == [step.id for step in all_steps(alone)]


def test_cells_over_the_same_rows_read_them_once(load: Load, tmp_path: Path) -> None:
    few2, few4, all2, all4 = contexts_of(load(), tmp_path)
    assert few2.data is few4.data
    assert all2.data is all4.data
    assert few2.data is not all2.data


def test_only_the_chosen_cells_are_made(load: Load, tmp_path: Path, fake: FakeMake) -> None:
    top = run(load(only=("data=few,rank=r4",)), tmp_path / "runs", workers=1)
    assert [path.name for path in (top / "cells").iterdir()] == ["few,r4"]
    assert len(read_json(top / "grid.json")["cells"]) == 4
    half = len(fake.made)
    run(load(), tmp_path / "runs", workers=1)
    assert len(set(fake.made[:half])) == half
    assert len([each for each in fake.made if each.startswith("stage 1")]) == 4  # two of them were there


# Failures ------------------------------------------------------------------------------------------------------------


def broken(step: Any) -> Exception | None:
    """Fail for the adapters of rank 2 with the first seed; not as a user's mistake for one of them."""
    if isinstance(step, Stage2) and step.training.r == 2 and step.seed == 0:
        few = step.context.folder.name.startswith("few")
        return UserError("the loss is nan") if few else RuntimeError("out of\nmemory")
    return None


def test_a_failure_is_marked_and_stops_only_what_needs_it(load: Load, tmp_path: Path, fake: FakeMake) -> None:
    fake.fails = broken
    recipe = load()
    with pytest.raises(StepsFailedError) as caught:
        run(recipe, tmp_path / "runs", workers=1)
    assert "stage 2 lora, es, seed 0 (few,r2): the loss is nan" in str(caught.value)
    assert "2 more need them; the rest is done and kept" in str(caught.value)
    assert caught.value.ours  # one of them is no mistake of the user
    top = tmp_path / "runs" / "tiny"
    marks = {mark.label: mark for mark in load_failures(top).values()}
    assert set(marks) == {"lora, es, seed 0 (few,r2)", "lora, es, seed 0 (all,r2)"}
    mark = marks["lora, es, seed 0 (all,r2)"]
    assert mark.error == "RuntimeError: out of memory"
    assert any("fake_steps" in line for line in mark.trace)  # a fault of the program says where
    assert marks["lora, es, seed 0 (few,r2)"].trace == []
    assert mark.stops == [{"cell": "all,r2", "method": "lora", "language": "es", "seed": 0}]
    assert len(list(top.glob("cells/*/records/*.json"))) == 4 * 4 - 2
    planned = {(step.cell, step.label): step.error for step in plan(recipe, tmp_path / "runs") if step.error}
    assert planned == {
        ("few,r2", "lora, es, seed 0"): "the loss is nan",
        ("all,r2", "lora, es, seed 0"): "RuntimeError: out of memory",
    }


def test_a_shared_step_that_fails_is_tried_once_and_stops_every_cell_that_needs_it(
    load: Load, tmp_path: Path, fake: FakeMake
) -> None:
    fake.fails = lambda step: UserError("no") if isinstance(step, Stage1) and step.seed == 1 else None
    with pytest.raises(StepsFailedError, match="2 of 32 steps failed") as caught:
        run(load(), tmp_path / "runs", workers=1)
    assert not caught.value.ours
    assert len([each for each in fake.made if each == "stage 1 en, seed 1"]) == 2  # one for each data
    stops = [stopped for mark in load_failures(tmp_path / "runs" / "tiny").values() for stopped in mark.stops]
    assert {(each["cell"], each["method"], each["seed"]) for each in stops} == {
        (f"{data},{rank}", method, 1) for data in ("few", "all") for rank in ("r2", "r4") for method in METHODS
    }


def test_what_failed_is_tried_again_aloud_and_its_mark_goes_with_success(
    load: Load, tmp_path: Path, fake: FakeMake, caplog: pytest.LogCaptureFixture
) -> None:
    recipe, runs = load(), tmp_path / "runs"
    fake.fails = broken
    with pytest.raises(StepsFailedError):
        run(recipe, runs, workers=1)
    fake.made.clear()
    with caplog.at_level(logging.WARNING), pytest.raises(StepsFailedError):
        run(recipe, runs, workers=1)
    assert sorted(fake.made) == ["stage 2 lora, es, seed 0"] * 2  # each once, and nothing else
    said = [message for message in caplog.messages if message.startswith("trying again")]
    assert len(said) == 2
    assert any(
        line.startswith("trying again: stage 2 lora, es, seed 0 (few,r2), which failed on 20")
        and line.endswith("UTC: the loss is nan")
        for line in said
    )
    caplog.clear()
    fake.fails = lambda step: None
    with caplog.at_level(logging.WARNING):
        top = run(recipe, runs, workers=1)
    assert len([message for message in caplog.messages if message.startswith("trying again")]) == 2
    assert list((top / "failed").iterdir()) == []
    caplog.clear()
    run(recipe, runs, workers=1)
    assert not [message for message in caplog.messages if message.startswith("trying again")]


def test_what_another_worker_just_failed_at_is_not_tried_here(load: Load, tmp_path: Path, fake: FakeMake) -> None:
    board = Board(build_graph(contexts_of(load(), tmp_path)))
    board.refresh()
    step = board.ready[0]
    save_failure(board.shared, Failure.of(step.id, step.kind, step.label, UserError("no"), []))
    assert _make_one(board, fake)  # it says that it looked, so that the board is looked at again
    assert fake.made == []
    board.refresh()
    assert step.id not in ids_of(board.ready)


def test_at_most_five_are_named(load: Load, tmp_path: Path, fake: FakeMake, caplog: pytest.LogCaptureFixture) -> None:
    fake.fails = lambda step: UserError("no") if isinstance(step, PredictionStep) else None
    for _ in range(2):  # of 16 predictions the 4 of zero-shot are alike for both ranks
        caplog.clear()
        with pytest.raises(StepsFailedError, match=r"12 of 32 steps failed: .*; and 9 more"):
            run(load(), tmp_path / "runs", workers=1)
    assert len([each for each in caplog.messages if each.startswith("trying again")]) == 5
    assert caplog.messages[-1] == "and 7 more steps that failed before"


def test_marks_of_an_older_recipe_go(load: Load, tmp_path: Path, fake: FakeMake) -> None:
    fake.fails = broken
    with pytest.raises(StepsFailedError):
        run(load(), tmp_path / "runs", workers=1)
    top = run(load({"rank": {"r3": {"stage2": {"r": 3}}}}), tmp_path / "runs", workers=1)
    assert len(load_failures(top)) == 2  # of other cells, which this run does not speak of
    fake.fails = lambda step: UserError("no") if isinstance(step, Stage2) else None
    grid = {"rank": {"r5": {"stage2": {"r": 5}}}}
    with pytest.raises(StepsFailedError):
        run(load(grid), tmp_path / "runs", workers=1)
    assert len(load_failures(top)) == 4
    fake.fails = lambda step: None
    run(load(grid, **{"stage2.lr": 0.5}), tmp_path / "runs", workers=1)
    assert len(load_failures(top)) == 2


def test_a_disk_that_is_full_ends_the_run_in_one_line(
    load: Load, tmp_path: Path, fake: FakeMake, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    import crossflare.disk.files as files
    import crossflare.experiment.running.board as failures

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def fails(step: Any) -> Exception:
        monkeypatch.setattr(files.os, "replace", full)
        return UserError("models/x: could not be written (No space left on device)")

    fake.fails = fails
    assert failures.FOLDER == "failed"
    with pytest.raises(UserError, match=r"failed/\w+\.json: could not be written \(No space left on device\); free"):
        run(load(), tmp_path / "runs", workers=1)
    assert len(fake.made) == 1  # it does not go on to fail at every step


@pytest.mark.slow
def test_a_cell_gives_the_bytes_of_its_recipe_alone(load: Load, tmp_path: Path) -> None:
    recipe = load({"rank": {"r2": {"stage2": {"r": 2}}, "r4": None}}, seeds=[0])
    top = run(recipe, tmp_path / "runs", workers=1)
    whole = results(top)
    for cell in recipe.cells:
        alone = results(run(cell.spec, tmp_path / cell.name, workers=1))
        models = {name: content for name, content in alone.items() if name.startswith("models/")}
        assert models
        assert models.items() <= whole.items()
        predictions = {name: content for name, content in alone.items() if name.startswith("predictions/")}
        assert predictions
        assert predictions == results(top / "cells" / cell.name)
