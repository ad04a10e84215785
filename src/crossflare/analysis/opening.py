"""Open the trained adapters of a run with its test rows, and watch or change their fusing layers while they read."""

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from peft import PeftModel
from torch import Tensor, nn

from crossflare.errors import UserError, choose, listed
from crossflare.evaluation.folder import CELLS, MODELS, SPEC, RunFiles
from crossflare.experiment.making.predictions import load_model, read_split
from crossflare.experiment.steps.context import Context
from crossflare.experiment.steps.models import NotReadyError
from crossflare.experiment.steps.prediction import PredictionStep
from crossflare.fusion.alignment import Pairing
from crossflare.fusion.functions import Phi
from crossflare.fusion.variant import FlareVariant
from crossflare.languages import tag_of
from crossflare.libraries.peft import LoraLayer, lora_variant
from crossflare.recipe.read import load_spec
from crossflare.serving.adapter import TrainedAdapter
from crossflare.serving.card import Saved, open_saved
from crossflare.tasks.example import Split
from crossflare.tasks.hub import HUB_NAME
from crossflare.training.forms.protocol import Outputs


@dataclass(frozen=True)
class Layer:
    """One projection that fuses."""

    name: str
    variant: FlareVariant

    @property
    def projection(self) -> str:
        """The last part of its name."""
        return self.name.rpartition(".")[2]

    @property
    def block(self) -> tuple[str, int]:
        """The name of its stack of blocks, and the index of its block there."""
        return self.variant.stack, self.variant.block


def fusing_layers(model: PeftModel) -> list[Layer]:
    """Return the fusing projections of the active adapter, in the model's order.

    Raises:
        UserError: No projection fuses.
    """
    base: nn.Module = model.get_base_model()
    layers = [
        Layer(name, variant)
        for name, module in base.named_modules()
        if isinstance(module, LoraLayer)
        for variant in [lora_variant(module, str(model.active_adapter))]
        if isinstance(variant, FlareVariant) and variant.phi is not None
    ]
    if not layers:
        raise UserError(f"the adapter '{model.active_adapter}' has no layer that fuses; expected a FLARE adapter")
    return layers


def query_of(layers: Iterable[Layer], block: int | None = None) -> Layer:
    """Return the query projection of a block of the first stack; None: of its first block that fuses.

    If query, key and value are one matrix, it is that projection.

    Raises:
        UserError: Nothing fuses in that block.
    """
    own = [layer for layer in layers if layer.variant.role == "self"]
    first = [layer for layer in own if layer.variant.stack == own[0].variant.stack]
    blocks = sorted({layer.variant.block for layer in first})
    if block is not None and block not in blocks:
        raise UserError(f"block {block} does not fuse; expected one of {', '.join(map(str, blocks))}")
    there = [layer for layer in first if layer.variant.block == (blocks[0] if block is None else block)]
    return next((layer for layer in there if layer.projection.lower().startswith("q")), there[0])


@contextmanager
def replaced(layers: Iterable[Layer], make: Callable[[Phi], Phi]) -> Generator[None]:
    """Give layers another phi inside the block, which `make` makes from their own."""
    before = [(layer.variant, layer.variant.phi) for layer in layers]
    try:
        for variant, phi in before:
            assert phi is not None, "a layer that fuses has a phi"
            variant.phi = make(phi)
        yield
    finally:
        for variant, phi in before:
            variant.phi = phi


def silent(phi: Phi) -> Phi:
    """Return phi without any source: every token takes the target-only value."""
    return lambda source, target, pairing: phi(None, target, None)


def seen(phi: Phi, see: Callable[[Tensor, Tensor, Tensor, Pairing], None]) -> Phi:
    """Return phi with a call of `see` for each fusion: low source [B,S,r], low target and result [B,T,r], pairing."""

    def watched(source: Tensor | None, target: Tensor, pairing: Pairing | None) -> Tensor:
        fused = phi(source, target, pairing)
        if source is not None and pairing is not None:
            see(source, target, fused, pairing)
        return fused

    return watched


@dataclass(frozen=True)
class Lent(PredictionStep):
    """A prediction of a run's test rows by an adapter that is not the run's."""

    saved: Saved | None = field(default=None, compare=False, repr=False)


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
    place: str | Path,
    method: str | None = None,
    languages: Sequence[str] = (),
    seed: int | None = None,
    rows_of: Path | None = None,
) -> list[PredictionStep]:
    """Return the steps that predict the test rows with one trained adapter, one for each language.

    Args:
        place: The folder of a run or of a grid's cell, or of an adapter in a run's `models`, which decides the rest.
            With `rows_of`, any adapter: a folder, or a name on the hub.
        method: A method whose adapter fuses; None: the recipe's first.
        languages: The target languages; empty: all languages that the method is run in.
        seed: A seed of the recipe; None: its first.
        rows_of: The folder of the run whose test rows an adapter from elsewhere reads, as that run's method of the
            same kind does.

    Raises:
        UserError: No run is there, it has no such method, language or seed, the adapter is not trained yet, or one from
            elsewhere does not fit the run.
    """
    if rows_of is not None:
        return _lent(place, rows_of, method, languages)
    path = Path(place)
    if not path.exists() and HUB_NAME.fullmatch(str(place).partition("@")[0]):
        raise UserError(
            f"{place}: no such folder; for an adapter on the hub, say whose test rows it reads: --rows-of runs/NAME"
        )
    if path.resolve().parent.name == MODELS and not RunFiles(path).spec.is_file():
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


def _lent(place: str | Path, rows_of: Path, method: str | None, languages: Sequence[str]) -> list[PredictionStep]:
    """Return the steps in which an adapter from elsewhere reads a run's test rows, in the languages of its card."""
    saved, context = open_saved(place), _open(rows_of)
    spec = context.spec
    if saved.task.labels != context.data.task.labels:
        theirs = listed(context.data.task.labels) or "none"
        raise UserError(f"{place}: its labels are {listed(saved.task.labels) or 'none'}, those of {rows_of} {theirs}")
    known = {each.name: each for each in spec.methods if each.kind == saved.name and each.about.fuses}
    if not known:
        raise UserError(f"{place}: its kind is {saved.name}, and {rows_of} has no method of it that fuses")
    chosen = known[choose("method of its kind", method or next(iter(known)), known)]
    own = str(saved.card.get("language") or "").split("+")
    targets = [each for each in spec.languages(chosen) if each in own]
    if not targets:
        raise UserError(f"{place}: it was trained for {', '.join(own)}, of which {rows_of} has no test rows")
    called = replace(chosen, name=str(place).replace("/", "--").strip("-."))
    return [
        Lent(context, called, choose("language", tag_of(each), targets), spec.seeds[0], saved=saved)
        for each in languages or targets
    ]


def load(step: PredictionStep, rows: int | None = None) -> Adapter:
    """Load the adapter and the first `rows` test rows; None: all."""
    split = step.context.data.test(step.language, step.test_source)
    saved = step.saved if isinstance(step, Lent) else None
    return Adapter(step, load_model(step, saved), replace(split, examples=split.examples[:rows]))


def _open(path: Path) -> Context:
    files = RunFiles(path)
    if not files.spec.is_file():
        cells = files.cells
        hint = f"give one of its cells, as in {cells[0].folder}" if cells else "give one, as in runs/demo"
        raise UserError(f"{path}: expected the folder of a run, with its {SPEC}; {hint}")
    top = path.parent.parent if path.parent.name == CELLS else path
    return Context(load_spec(files.spec), path, top)


def _of_adapter(path: Path) -> list[PredictionStep]:
    """Return the run's prediction steps that have the adapter in `path` as their model, one for each language."""
    top = path.parent.parent
    for files in [RunFiles(top), *RunFiles(top).cells]:
        if not files.spec.is_file():
            continue
        context = _open(files.folder)
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
        return not step.about.outside and step.model.done() and step.model.path.resolve() == path
    except NotReadyError:
        return False
