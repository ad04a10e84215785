"""The steps of a recipe, and how long they take.

`count` reads the recipe alone: nothing is opened, fetched or loaded. `Speeds` knows only the same kind of work, from
all cards and records of a run; `Pace` also takes the pace of similar steps for a kind of step that never ran.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from crossflare.disk.files import read_json
from crossflare.errors import UserError
from crossflare.evaluation.folder import RunFiles
from crossflare.experiment.running.board import load_failures
from crossflare.experiment.steps.context import Context
from crossflare.experiment.steps.graph import all_steps, contexts_of, run_folder
from crossflare.experiment.steps.models import Stage1, Stage2
from crossflare.experiment.steps.prediction import PredictionStep
from crossflare.experiment.steps.step import Step
from crossflare.recipe.grid import Recipe
from crossflare.recipe.spec import Spec


@dataclass(frozen=True)
class Counts:
    """The number of steps of a recipe; a step that cells share counts once."""

    cells: int
    stage1: int
    """The models trained in the source language."""
    adapters: int
    """The models trained on top of them, including trials of learning rates."""
    predictions: int
    """The predictions: one for each method, language and seed."""


def count(recipe: Recipe) -> tuple[Counts, dict[str, Counts]]:
    """Return the counts of all chosen cells together, and of each cell by name."""
    contexts = contexts_of(recipe, Path())
    return _counts(contexts), {context.cell: _counts([context]) for context in contexts}


def _counts(contexts: Sequence[Context]) -> Counts:
    shown = [step for step in all_steps(*contexts) if not step.repeats_a_trial and not step.hidden]
    different = {(step.kind, step.same_work) for step in shown}
    kinds = [kind for kind, _ in different]
    return Counts(len(contexts), *(kinds.count(each.kind) for each in (Stage1, Stage2, PredictionStep)))


Key = tuple[str, ...]


class Pace:
    """The seconds per optimizer step, or per predicted row, of the steps that were made."""

    def __init__(self) -> None:
        self._seconds = defaultdict[Key, list[float]](list)

    def add(self, step: Step, seconds: float) -> None:
        """Add the time of a step that was made."""
        for key in _keys(step):
            self._seconds[key].append(seconds / max(1, step.size))

    def left(self, steps: Iterable[Step], workers: int) -> float | None:
        """Return the seconds for these steps with `workers` workers; None if nothing similar to one of them has run."""
        total = 0.0
        for step in steps:
            known = next((found for key in _keys(step) if (found := self._seconds.get(key))), None)
            if known is None:
                return None
            total += median(known) * step.size
        return total / workers


def _keys(step: Step) -> tuple[Key, ...]:
    """Return the keys of similar steps, the most similar first."""
    sort, model = ("train" if step.trains else "predict"), step.context.spec.model.name
    return (sort, step.method_kind, model), (sort, model)


Work = tuple[str, str, int]
"""Model, kind of method, and the most tokens of a text."""


@dataclass(frozen=True)
class Speeds:
    """The medians of the measured seconds."""

    per_step: dict[Work, float]
    """The seconds of one optimizer step, from the cards of the existing models."""
    per_row: dict[Work, float]
    """The seconds of one predicted row, from the records; the first reader of test rows includes their translation."""

    def seconds(self, step: Step) -> float | None:
        """Return the most seconds that a step takes; None if no such work has run. Early stopping makes it shorter."""
        each = (self.per_step if step.trains else self.per_row).get(_work(step))
        return None if each is None else each * step.size


def measured(top: Path) -> Speeds:
    """Return the speeds of all work in the folder of a run; files that cannot be read are skipped."""
    steps, rows = defaultdict[Work, list[float]](list), defaultdict[Work, list[float]](list)
    lengths: dict[str, int] = {}
    files = RunFiles(top)
    for path in files.cards:
        card = _read(path)
        try:
            work = (card["model"]["name"], card["kind"], card["max_length"])
            steps[work].append(card["training"]["seconds"] / (card["training"]["steps"] or card["data"]["n_train"]))
            lengths[path.parent.name] = card["max_length"]
        except (KeyError, TypeError, ZeroDivisionError):
            continue
    for path in files.all_records:
        record = _read(path)
        try:
            model = record["model"]
            work = (model["name"], record["method"]["kind"], lengths[model["id"]])
            rows[work].append(record["timings"]["predict"] / record["data"]["n_test"])
        except (KeyError, TypeError, ZeroDivisionError):
            continue
    return Speeds({work: median(found) for work, found in steps.items()}, {w: median(f) for w, f in rows.items()})


def unknown(steps: Iterable[Step]) -> list[str]:
    """Return descriptions of steps whose time is not known: kind of step, kind of method and model, each once."""
    return list(dict.fromkeys(f"{step.what} on {Path(step.context.spec.model.name).name}" for step in steps))


def _work(step: Step) -> Work:
    return step.context.spec.model.name, step.method_kind, step.training.max_length


def _read(path: Path) -> Any:
    try:
        return read_json(path)
    except UserError:
        return None


@dataclass(frozen=True, slots=True)
class Planned:
    """One step of the plan, for a person or a script."""

    kind: str
    label: str
    run_id: str | None
    """The content id; None while the learning rate that it depends on is not chosen."""
    done: bool
    cell: str = ""
    """The first cell of the grid that needs it; empty for a plain recipe."""
    error: str | None = None
    """The error of its last attempt."""
    seconds: float | None = None
    """The most seconds that it will take, from measured speeds; None: it is done, or no such work has run."""
    like: str = ""
    """A description of the work that has to run once before its time is known."""


def plan(recipe: Recipe | Spec, root: Path) -> list[Planned]:
    """Return every step of a recipe in the order of one worker; a step that cells share is there once.

    Raises:
        UserError: The data or the base model's package is missing.
    """
    recipe = recipe if isinstance(recipe, Recipe) else Recipe.of(recipe)
    top = run_folder(recipe, root)
    speeds, failures = measured(top), load_failures(top)
    once: dict[str, Step] = {}
    for step in all_steps(*contexts_of(recipe, top)):
        if not step.hidden:
            once.setdefault(step.same_work, step)
    planned: list[Planned] = []
    for step in once.values():
        id, done = step.known_id, step.done()
        failure = None if done or id is None else failures.get(id)
        seconds = None if done else speeds.seconds(step)
        like = unknown([step])[0] if not done and seconds is None else ""
        error = failure.error if failure else None
        planned.append(Planned(step.kind, step.label, id, done, step.context.cell, error, seconds, like))
    return planned
