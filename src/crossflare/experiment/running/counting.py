"""What a recipe comes to, told from the recipe alone: nothing is opened, fetched or loaded."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from crossflare.experiment.steps.cells import cell_of, contexts_of
from crossflare.experiment.steps.context import Context
from crossflare.experiment.steps.graph import Step, all_steps
from crossflare.experiment.steps.models import Stage1, Stage2
from crossflare.experiment.steps.prediction import Prediction
from crossflare.files import content_id
from crossflare.recipe.grid import Recipe

_NOT_OF_THE_ADAPTER = {"name", "of", "languages", "trained_in", "test_source", "lr", "epochs", "r", "alpha"}


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
    return _counts(contexts), {cell_of(context): _counts([context]) for context in contexts}


def same_work(step: Step) -> str:
    """Return what steps of different cells agree on when they are made once, told without their data."""
    spec = step.context.spec
    base = [asdict(spec.model), asdict(spec.task), spec.source, asdict(spec.stage1), step.seed]
    if isinstance(step, Stage1):
        return content_id(base)
    if isinstance(step, Prediction):
        return content_id([cell_of(step.context), step.method.name, step.language, step.seed, step.split])
    own = {name: value for name, value in asdict(step.method).items() if name not in _NOT_OF_THE_ADAPTER}
    training, translation = asdict(step.training), asdict(spec.translation)
    return content_id([base, own, step.reads, step.language, training, translation, step.lr])


def _counts(contexts: Sequence[Context]) -> Counts:
    steps = [step for step in all_steps(*contexts) if not _is_one_of_its_trials(step)]
    shown = [step for step in steps if not (isinstance(step, Prediction) and step.hidden)]
    different = {(step.kind, same_work(step)) for step in shown}
    kinds = [kind for kind, _ in different]
    return Counts(len(contexts), *(kinds.count(each.kind) for each in (Stage1, Stage2, Prediction)))


def _is_one_of_its_trials(step: Step) -> bool:
    """Whether a step is the adapter of the chosen rate and the first seed, which its trials made already."""
    return (
        isinstance(step, Stage2) and step.lr is None and bool(step.trials) and step.seed == step.context.spec.seeds[0]
    )
