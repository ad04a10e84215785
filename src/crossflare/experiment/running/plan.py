"""What a recipe would run, what of it exists, what failed before, and how long the rest will take."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any

from crossflare.errors import UserError
from crossflare.experiment.running.board import id_of, load_failures
from crossflare.experiment.running.counting import same_work
from crossflare.experiment.steps.cells import CELLS, cell_of, contexts_of, run_folder
from crossflare.experiment.steps.graph import Step, all_steps
from crossflare.experiment.steps.models import Stage1, Stage2
from crossflare.experiment.steps.prediction import Prediction
from crossflare.files import read_json
from crossflare.fusion.adapter_files import CARD
from crossflare.recipe.grid import Recipe
from crossflare.recipe.spec import Spec

Key = tuple[str, ...]


class Pace:
    """Seconds for each optimizer step, or for each predicted row, of the steps that were made."""

    def __init__(self) -> None:
        self._seconds = defaultdict[Key, list[float]](list)

    def add(self, step: Step, seconds: float) -> None:
        """Learn from a step that was made."""
        for key in _keys(step):
            self._seconds[key].append(seconds / max(1, _size(step)))

    def left(self, steps: Iterable[Step], workers: int) -> float | None:
        """Return seconds for these steps, made by so many workers; None while nothing like one of them has run."""
        total = 0.0
        for step in steps:
            known = next((found for key in _keys(step) if (found := self._seconds.get(key))), None)
            if known is None:
                return None
            total += median(known) * _size(step)
        return total / workers


def _keys(step: Step) -> tuple[Key, ...]:
    """Return what a step is like: the most alike first."""
    model = step.context.spec.model.name
    kind = "stage 1" if isinstance(step, Stage1) else step.method.kind
    sort = "predict" if isinstance(step, Prediction) else "train"
    return (sort, kind, model), (sort, model)


def _size(step: Step) -> int:
    return rows_of(step) if isinstance(step, Prediction) else optimizer_steps(step)


Work = tuple[str, str, int]
"""Model, kind of method, and most tokens of a text."""


@dataclass(frozen=True)
class Speeds:
    """Seconds, as the median of what was measured."""

    per_step: dict[Work, float]
    """Of one optimizer step, by the cards of the models that are there."""
    per_row: dict[Work, float]
    """Of one predicted row, by the records; the translation of test rows is in that of the first to read them."""

    def seconds(self, step: Step) -> float | None:
        """Return the most that a step takes; None: nothing like it has run. Early stopping makes it shorter."""
        work = _work(step)
        if isinstance(step, Prediction):
            each = self.per_row.get(work)
            return None if each is None else each * rows_of(step)
        each = self.per_step.get(work)
        return None if each is None else each * optimizer_steps(step)


def measured(top: Path) -> Speeds:
    """Return the speeds of all that ran in the folder of a run; what cannot be read is passed over."""
    steps, rows = defaultdict[Work, list[float]](list), defaultdict[Work, list[float]](list)
    lengths: dict[str, int] = {}
    for path in sorted(top.glob(f"models/*/{CARD}")):
        card = _read(path)
        try:
            work = (card["model"]["name"], card["kind"], card["max_length"])
            steps[work].append(card["training"]["seconds"] / card["training"]["steps"])
            lengths[path.parent.name] = card["max_length"]
        except (KeyError, TypeError, ZeroDivisionError):
            continue
    for place in ("records", f"{CELLS}/*/records", "parts", f"{CELLS}/*/parts"):
        for path in sorted(top.glob(f"{place}/*.json")):
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
    found: dict[str, None] = {}
    for step in steps:
        model, kind, _ = _work(step)
        what = step.kind if isinstance(step, Stage1) else f"{step.kind} of {kind}"
        found[f"{what} on {Path(model).name}"] = None
    return list(found)


def _work(step: Step) -> Work:
    spec = step.context.spec
    kind = "stage1" if isinstance(step, Stage1) else step.method.kind
    training = spec.stage2 if isinstance(step, Prediction) else step.training
    return spec.model.name, kind, training.max_length


def optimizer_steps(step: Stage1 | Stage2) -> int:
    """Return how many there are at most: of translations some may be left out."""
    languages = 1 if isinstance(step, Stage1) else step.language.count("+") + 1
    rows = len(step.context.data.source_task("train")) * languages
    return step.training.epochs * ceil(rows / step.training.batch_size)


def rows_of(step: Prediction) -> int:
    """Return how many rows it reads."""
    data = step.context.data
    return len(data.test(step.language, "none") if step.split == "test" else data.source_task("dev"))


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
        if not (isinstance(step, Prediction) and step.hidden):
            once.setdefault(same_work(step), step)
    planned: list[Planned] = []
    for step in once.values():
        id, done = id_of(step), step.done()
        mark = None if done or id is None else failures.get(id)
        seconds = None if done else speeds.seconds(step)
        like = unknown([step])[0] if not done and seconds is None else ""
        error = mark.error if mark else None
        planned.append(Planned(step.kind, step.label, id, done, cell_of(step.context), error, seconds, like))
    return planned
