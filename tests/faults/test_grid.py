"""A grid whose driver is shot again and again, with cells that fail: every step once, and the table of a calm run."""

import json
import random
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import crossflare.experiment.making.make as making
from crossflare.disk.files import read_json
from crossflare.errors import UserError
from crossflare.experiment.running.board import load_failures
from crossflare.experiment.running.news import Made, Reader, note
from crossflare.experiment.running.plan import plan
from crossflare.experiment.running.run import run
from crossflare.recipe.grid import Recipe, load_recipe
from digests import digests
from fake_steps import FakeMake
from injecting import End, shoot
from tiny_experiment import Lab

METHODS = ("zero-shot", "lora")
RANKS = {f"r{rank}": {"stage2": {"r": rank}} for rank in (2, 3, 4)}
GRID = {"data": {"few": {"task": {"limit": {"train": 8}}}, "all": None}, "rank": RANKS, "length": {
    "short": {"stage2": {"max_length": 12}}, "long": None}}  # fmt: skip


def fails(step: Any) -> Exception | None:
    """Adapters of rank 3 fail, in several ways."""
    if getattr(getattr(step, "training", None), "r", None) != 3:
        return None
    return [UserError("the loss is nan"), MemoryError("no room"), RuntimeError("a fault")][len(step.id) % 3]


def make_recipe(folder: Path) -> Recipe:
    lab = Lab(folder / "lab", languages=("es",), seeds=(0,))
    made = json.loads(lab.text(methods=METHODS))
    (folder / "grid.yaml").write_text(json.dumps({**made, "grid": GRID}), encoding="utf-8")
    return load_recipe(folder / "grid.yaml")


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return make_recipe(tmp_path)


def attempt(recipe: Recipe, runs: Path, after: float | None = None, steps: int = 0) -> End:
    """Run the grid in a child; shoot it so many seconds after so many more steps: a machine of any pace is hit."""
    log = runs / "tiny/made.jsonl"

    def lines() -> int:
        return log.read_bytes().count(b"\n") if log.is_file() else 0

    begun = lines()

    def action() -> None:
        making.make = Slow(fails)  # type: ignore[assignment]
        run(recipe, runs, workers=1)

    return shoot(action, after, lambda: lines() >= begun + steps)


class Slow(FakeMake):
    def __call__(self, step: Any) -> None:
        time.sleep(0.01)
        super().__call__(step)


def outcome(recipe: Recipe, runs: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Return what was made, by digests, and what failed, by its error."""
    top = runs / "tiny"
    wanted = [
        *top.glob("cells/*/records/*.json"),
        *top.glob("cells/*/predictions/*.jsonl"),
        *top.glob("models/*/*.json"),
    ]
    return digests(top, wanted), {name: mark.error for name, mark in load_failures(top).items()}


def test_a_driver_that_is_shot_again_and_again(tmp_path: Path, recipe: Recipe) -> None:
    assert len(recipe.cells) == 12
    calm = attempt(recipe, tmp_path / "calm")
    assert calm.code in (1, 2), calm.said  # steps failed
    draw, kills = random.Random(0), 0
    for _ in range(40):
        end = attempt(recipe, tmp_path / "shot", draw.uniform(0, 0.02), draw.randrange(8))
        kills += end.code == -signal.SIGKILL
        if end.code != -signal.SIGKILL or kills == 8:
            break
    assert kills >= 2
    assert attempt(recipe, tmp_path / "shot").code == calm.code
    made, failed = outcome(recipe, tmp_path / "shot")
    assert (made, failed) == outcome(recipe, tmp_path / "calm")
    assert failed
    assert made
    for step in plan(recipe, tmp_path / "shot"):  # each once: done, or failed with a reason, or for want of such a one
        assert step.done or failed
    # A step is noted after it was made, so that a kill in between leaves it out; none is made twice.
    assert steps_made(tmp_path / "shot") <= steps_made(tmp_path / "calm")


def steps_made(runs: Path) -> "Counter[str]":
    """Return how often each step is in the log; cells that agree on a result have one id for it."""
    return Counter(made.id for made in Reader(runs / "tiny").new())


def test_a_torn_last_line_of_the_log_takes_no_other_along(tmp_path: Path, recipe: Recipe) -> None:
    note(tmp_path, Made("a", "stage 1", "first", 1.0))
    log = tmp_path / "made.jsonl"
    log.write_bytes(log.read_bytes() + b'{"id": "torn", "ki')
    note(tmp_path, Made("b", "stage 1", "second", 1.0))
    assert [made.id for made in Reader(tmp_path).new()] == ["a", "b"]


def test_control_the_summary_of_the_grid_is_there(tmp_path: Path, recipe: Recipe) -> None:
    attempt(recipe, tmp_path / "calm")
    assert len(read_json(tmp_path / "calm/tiny/grid.json")["cells"]) == 12
