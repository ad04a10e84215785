"""What a recipe comes to, told from the recipe alone: nothing is opened, fetched or loaded.

`estimate` is stricter and reads every card; here a kind of step that never ran takes the pace of its like.
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
    """How many steps a recipe has; what cells share counts once."""

    cells: int
    stage1: int
    """Models trained in the source language."""
    adapters: int
    """Trained on top of them, trials of learning rates among them."""
    predictions: int
    """Methods by language and seed."""


def count(recipe: Recipe) -> tuple[Counts, dict[str, Counts]]:
    """Return what the chosen cells come to, and each of them alone, by name."""
    contexts = contexts_of(recipe, Path())
    return _counts(contexts), {context.cell: _counts([context]) for context in contexts}


def _counts(contexts: Sequence[Context]) -> Counts:
    shown = [step for step in all_steps(*contexts) if not step.repeats_a_trial and not step.hidden]
    different = {(step.kind, step.same_work) for step in shown}
    kinds = [kind for kind, _ in different]
    return Counts(len(contexts), *(kinds.count(each.kind) for each in (Stage1, Stage2, PredictionStep)))


Key = tuple[str, ...]


class Pace:
    """Seconds for each optimizer step, or for each predicted row, of the steps that were made."""

    def __init__(self) -> None:
        self._seconds = defaultdict[Key, list[float]](list)

    def add(self, step: Step, seconds: float) -> None:
        """Learn from a step that was made."""
        for key in _keys(step):
            self._seconds[key].append(seconds / max(1, step.size))

    def left(self, steps: Iterable[Step], workers: int) -> float | None:
        """Return seconds for these steps, made by so many workers; None while nothing like one of them has run."""
        total = 0.0
        for step in steps:
            known = next((found for key in _keys(step) if (found := self._seconds.get(key))), None)
            if known is None:
                return None
            total += median(known) * step.size
        return total / workers


def _keys(step: Step) -> tuple[Key, ...]:
    """Return what a step is like: the most alike first."""
    sort, model = ("train" if step.trains else "predict"), step.context.spec.model.name
    return (sort, step.method_kind, model), (sort, model)


Work = tuple[str, str, int]
"""Model, kind of method, and most tokens of a text."""


@dataclass(frozen=True)
class Speeds:
    """Seconds, as the median of what was measured."""

    per_step: dict[Work, float]
    """Seconds of one optimizer step, from the cards of the models that are there."""
    per_row: dict[Work, float]
    """Seconds of one predicted row, from the records; the first reader of the test rows pays for their translation."""

    def seconds(self, step: Step) -> float | None:
        """Return the most that a step takes; None: nothing like it has run. Early stopping makes it shorter."""
        each = (self.per_step if step.trains else self.per_row).get(_work(step))
        return None if each is None else each * step.size


def measured(top: Path) -> Speeds:
    """Return the speeds of all that ran in the folder of a run; what cannot be read is passed over."""
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
    """Return what the steps are whose time nothing tells of: kind of step, of method, and model, each once."""
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
    """One step, as a person or a script sees it."""

    kind: str
    label: str
    run_id: str | None
    """Content id; None while the learning rate it depends on is not chosen."""
    done: bool
    cell: str = ""
    """The first cell of the grid that needs it; empty for a plain recipe."""
    error: str | None = None
    """Why it failed when it was last tried."""
    seconds: float | None = None
    """The most it will take by what was measured; None: it is done, or nothing like it has run."""
    like: str = ""
    """What has to run once for its time to be known."""


def plan(recipe: Recipe | Spec, root: Path) -> list[Planned]:
    """Return every step of a recipe in the order in which one worker makes them; what cells share stands once.

    Raises:
        UserError: The data or the base model's package is not there.
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
