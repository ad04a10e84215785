"""Finding the trained adapters of a run, and putting its test rows to them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from crossflare.errors import UserError, choose
from crossflare.experiment.making.predictions import load_model, read_split
from crossflare.experiment.steps.cells import CELLS
from crossflare.experiment.steps.context import Context
from crossflare.experiment.steps.models import NotReadyError
from crossflare.experiment.steps.prediction import PredictionStep
from crossflare.languages import tag_of
from crossflare.recipe.read import load_spec
from crossflare.serving.adapter import TrainedAdapter
from crossflare.tasks.example import Split
from crossflare.training.forms.outputs import Outputs

SPEC = "spec.yaml"
MODELS = "models"


@dataclass(frozen=True)
class Adapter:
    """A trained FLARE adapter on its base, with test rows to read."""

    step: PredictionStep
    trained: TrainedAdapter
    split: Split

    def predict(self) -> Outputs:
        """Let the model read the rows, with their sources, as the run did."""
        return read_split(self.step, self.trained, self.split)


def find(
    path: Path, method: str | None = None, languages: Sequence[str] = (), seed: int | None = None
) -> list[PredictionStep]:
    """Return what reads the test rows with one trained adapter, for each language.

    Args:
        path: The folder of a run or of a grid's cell, or that of an adapter in a run's `models`, which says the rest.
        method: A method whose adapter fuses; None: the recipe's first.
        languages: Targets; empty: all that the method is run in.
        seed: One of the recipe's; None: its first.

    Raises:
        UserError: No run is there, it has no such method, language or seed, or the adapter is not trained yet.
    """
    if path.resolve().parent.name == MODELS and not (path / SPEC).is_file():
        return _of_adapter(path.resolve())
    context = _open(path)
    spec = context.spec
    known = {each.name: each for each in spec.methods if each.about.fuses}
    if not known:
        raise UserError(f"{path}: no method of this run fuses; expected one of kind flare, flare-mt or flare-released")
    chosen = known[choose("method that fuses", method or next(iter(known)), known)]
    targets = spec.languages(chosen)
    seeds = [str(each) for each in spec.seeds]
    number = int(choose("seed", seeds[0] if seed is None else str(seed), seeds))
    steps = [
        PredictionStep(context, chosen, choose("language", tag_of(each), targets), number)
        for each in languages or targets
    ]
    for step in steps:
        if not step.model.done():
            raise UserError(f"{path}: the adapter of {step.label} is not trained yet; run the recipe first")
    return steps


def load(step: PredictionStep, rows: int | None = None) -> Adapter:
    """Load the adapter and the first `rows` test rows; None: all."""
    split = step.context.data.test(step.language, step.test_source)
    return Adapter(step, load_model(step), replace(split, examples=split.examples[:rows]))


def _open(path: Path) -> Context:
    if not (path / SPEC).is_file():
        cells = sorted(each.name for each in (path / CELLS).glob("*"))
        hint = f"give one of its cells, as in {path / CELLS / cells[0]}" if cells else "give one, as in runs/demo"
        raise UserError(f"{path}: expected the folder of a run, with its {SPEC}; {hint}")
    top = path.parent.parent if path.parent.name == CELLS else path
    return Context(load_spec(path / SPEC), path, top)


def _of_adapter(path: Path) -> list[PredictionStep]:
    """Return the predictions of the run that the adapter in `path` is the model of: one for each language it reads."""
    top = path.parent.parent
    for folder in [top, *sorted((top / CELLS).glob("*"))]:
        if not (folder / SPEC).is_file():
            continue
        context = _open(folder)
        for method in context.spec.methods:
            steps = [
                step
                for seed in context.spec.seeds
                for language in context.spec.languages(method)
                if _reads(step := PredictionStep(context, method, language, seed), path)
            ]
            if steps and method.about.fuses:
                return steps
    raise UserError(f"{path}: no method of its run fuses with this adapter; give the folder of one that does")


def _reads(step: PredictionStep, path: Path) -> bool:
    try:
        return step.model.done() and step.model.path.resolve() == path
    except NotReadyError:
        return False
