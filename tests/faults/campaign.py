"""The parts of `make faults`: each makes one attempt from a seed, and counts what it did; what it raises is a fault."""

import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

import crossflare.experiment.making.make as making
from crossflare.experiment.running.run import run
from crossflare.recipe.grid import Recipe
from crossflare.training.loop.settings import Settings
from crossflare.translation.store import Store
from crossflare.translation.translate import translate_all
from digests import digests
from faulty import Reverse, texts
from fusion_models import build
from injecting import End, Point, check_end, count_calls, inject, points, shoot, traceable
from mutating import fuzz_adapter, fuzz_questions, fuzz_rows, make_adapter
from save_paths import PATHS, check_state
from tiny_experiment import Lab, results
from training import conftest as training

LONGEST = 60
"""Kills of one run; the attempt after them is left alone."""


class Killed:
    """Something that is run in a child, shot at random moments, and started again until it has ended by itself."""

    def __init__(self, folder: Path, action: Callable[[Path], None], outcome: Callable[[Path], object]) -> None:
        self.folder, self.action, self.outcome = folder, action, outcome
        begun = time.monotonic()
        self._ended(self._attempt(folder / "calm"))
        self.lasts = time.monotonic() - begun
        self.calm = outcome(folder / "calm")

    def __call__(self, seed: int) -> "Counter[str]":
        draw, place, counts = random.Random(seed), self.folder / f"shot {seed}", Counter[str](runs=1)
        for number in range(LONGEST + 1):
            after = draw.uniform(0, draw.choice([0.2, 0.7, 1.2])) * self.lasts if number < LONGEST else None
            end = self._attempt(place, after)
            if end.code != -signal.SIGKILL:
                break
            counts["kills"] += 1
        self._ended(end)
        assert self.outcome(place) == self.calm, "other bytes than those of the undisturbed run"
        counts["identical"] += 1
        shutil.rmtree(place)
        return counts

    def _attempt(self, place: Path, after: float | None = None) -> End:
        return shoot(lambda: self.action(place), after)

    @staticmethod
    def _ended(end: End) -> None:
        assert end.code == 0, end.said


def training_kills(folder: Path) -> Callable[[int], "Counter[str]"]:
    settings = Settings(
        lr=1e-2, epochs=2, batch_size=4, evaluations=2, max_length=16, precision="fp32", save_steps=1, select="last"
    )

    def action(place: Path) -> None:
        model, _ = training.run(place / "run", settings)
        (place / "weights").write_text(training.weights_of(model), encoding="ascii")

    return Killed(folder, action, lambda place: (place / "weights").read_text(encoding="ascii"))


def translation_kills(folder: Path) -> Callable[[int], "Counter[str]"]:
    rows = texts(2000)

    def action(place: Path) -> None:
        # A quick engine is given more texts at once, and how many decides which rows share a write, not the bytes.
        translate_all(Store(place), Reverse(0.0002), rows, "sw", "en", batch=5)

    # A kill while one file is written leaves a hidden `.tmp`, which nobody reads.
    return Killed(folder, action, lambda place: digests(place, [p for p in place.rglob("*") if p.suffix != ".tmp"]))


def grid_kills(folder: Path) -> Callable[[int], "Counter[str]"]:
    from faults import test_grid

    recipe: Recipe = test_grid.make_recipe(folder)

    def action(place: Path) -> None:
        making.make = test_grid.Slow(test_grid.fails)  # type: ignore[assignment]
        try:
            run(recipe, place, workers=1)
        except Exception as error:  # cells that fail are part of it
            if "failed" not in str(error):
                raise

    return Killed(folder, action, lambda place: test_grid.outcome(recipe, place))


def experiment_kills(folder: Path) -> Callable[[int], "Counter[str]"]:
    lab = Lab(folder / "lab", languages=("es",), seeds=(0,))
    spec = lab.spec(methods=("zero-shot", "lora", "flare"))
    return Killed(folder, lambda place: run(spec, place, workers=1) and None, lambda place: results(place / "tiny"))


def row_fuzzing(folder: Path) -> Callable[[int], "Counter[str]"]:
    return lambda seed: fuzz_rows(folder, seed)


def question_fuzzing(folder: Path) -> Callable[[int], "Counter[str]"]:
    return lambda seed: fuzz_questions(folder, seed)


def adapter_fuzzing(folder: Path) -> Callable[[int], "Counter[str]"]:
    identity = make_adapter(folder / "sound")
    return lambda seed: (
        fuzz_adapter(folder / "sound", folder / "damaged", build("bert"), identity, seed) + _one("folders")
    )


def system_calls(folder: Path) -> Callable[[int], "Counter[str]"]:
    """Return an attempt at one point; seed after seed goes through all of them, and from the first again."""
    if not traceable():
        raise pytest.skip.Exception("strace is missing or may not trace")
    log, every = folder / "log", list[tuple[str, Point]]()
    for number, (name, path) in enumerate(PATHS.items()):
        start = folder / f"start {number}"
        start.mkdir()
        path.old(start)
        shutil.copytree(start, folder / f"counted {number}", symlinks=True)
        counted = count_calls(lambda path=path, number=number: path.new(folder / f"counted {number}"), log)
        every += [(name, point) for point in points(counted)]
    order = list(PATHS)

    def attempt(seed: int) -> "Counter[str]":
        name, point = every[seed % len(every)]
        path, place = PATHS[name], folder / "place"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(folder / f"start {order.index(name)}", place, symlinks=True)
        end = inject(lambda: path.new(place), point, log)
        check_end(end, point)
        check_state(path, place, end.code == 0)
        return Counter({"points": 1, f"of {len(every)}": 0})

    return attempt


def _one(name: str) -> "Counter[str]":
    return Counter({name: 1})


PARTS: dict[str, tuple[Callable[[Path], Callable[[int], "Counter[str]"]], str, int]] = {
    "training, shot": (training_kills, "kills", 4),
    "translation, shot": (translation_kills, "kills", 2),
    "grid, shot": (grid_kills, "kills", 2),
    "experiment, shot": (experiment_kills, "kills", 3),
    "system calls": (system_calls, "points", 4),
    "rows": (row_fuzzing, "rows", 2),
    "questions": (question_fuzzing, "rows", 1),
    "adapters": (adapter_fuzzing, "folders", 2),
}
"""Name -> what makes it, what counts, and its share of the time."""
