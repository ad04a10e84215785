"""What a recipe would run, what of it exists, what failed before, and how long the rest will take."""

from dataclasses import dataclass
from pathlib import Path

from crossflare.experiment.board import id_of
from crossflare.experiment.cells import cell_of, contexts_of, run_folder
from crossflare.experiment.counting import same_work
from crossflare.experiment.estimate import measured, unknown
from crossflare.experiment.failures import load_failures
from crossflare.experiment.grid import Recipe
from crossflare.experiment.predictions import Prediction
from crossflare.experiment.spec import Spec
from crossflare.experiment.steps import Step, all_steps


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
