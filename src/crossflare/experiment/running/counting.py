"""What a recipe comes to, told from the recipe alone: nothing is opened, fetched or loaded."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from crossflare.experiment.steps.cells import contexts_of
from crossflare.experiment.steps.context import Context
from crossflare.experiment.steps.graph import all_steps
from crossflare.experiment.steps.models import Stage1, Stage2
from crossflare.experiment.steps.prediction import PredictionStep
from crossflare.recipe.grid import Recipe


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
