"""What a recipe would run, and what of it exists."""

from dataclasses import dataclass
from pathlib import Path

from crossflare.experiment.context import Context
from crossflare.experiment.predictions import Prediction
from crossflare.experiment.spec import Spec
from crossflare.experiment.stages import NotReadyError
from crossflare.experiment.steps import all_steps


@dataclass(frozen=True, slots=True)
class Planned:
    """One step, as a person or a script sees it."""

    kind: str
    label: str
    run_id: str | None
    """Content id; None while the learning rate it depends on is not chosen."""
    done: bool


def run_folder(spec: Spec, root: Path) -> Path:
    """Return the folder of a recipe's run."""
    return root / spec.name


def plan(spec: Spec, root: Path) -> list[Planned]:
    """Return every step of a recipe in the order in which one worker makes them.

    Raises:
        UserError: The data or the base model's package is not there.
    """
    context = Context(spec, run_folder(spec, root))
    planned: list[Planned] = []
    for step in all_steps(context):
        if isinstance(step, Prediction) and step.hidden:
            continue
        try:
            run_id = step.id
        except NotReadyError:
            run_id = None
        planned.append(Planned(step.kind, step.label, run_id, step.done()))
    return planned
