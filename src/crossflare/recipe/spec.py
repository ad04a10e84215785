"""A recipe as values: task, model, training, and the whole; `read` reads them."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, cast

from crossflare.disk.versions import FORMATS
from crossflare.errors import UserError
from crossflare.recipe import strict_yaml
from crossflare.recipe.kinds import KINDS
from crossflare.recipe.marks import (
    Bounds,
    Checked,
    Keyed,
    LanguageTag,
    ModelPath,
    field_types,
    is_path,
    item_type,
)
from crossflare.recipe.methods import AdapterOptions, MethodSpec
from crossflare.recipe.task import TaskSpec
from crossflare.recipe.translation import (
    Count,
    EngineOptions,
    Rate,
    Share,
    TranslationSpec,
)

Quantisation = Literal["none", "nf4", "nf4-single", "int8"]
Balance = Literal["none", "weights", "sampling"]


Tracker = Literal["none", "tensorboard", "trackio", "wandb"]


@dataclass(frozen=True)
class ModelSpec:
    """The pretrained model that everything starts from."""

    name: ModelPath
    """`minilm` (in the extra demo), `multilingual-e5-small` (in the extra multilingual), a model of the laboratory such
    as `lab-encoder`, a hub name, or a folder (starting with `.`, `~`, `$` or `/`)."""
    revision: str | None = None
    """The hub commit; None: the newest, which the record then names."""
    quantise: Quantisation = "none"
    """How the frozen weights are stored while adapters train: as they are, in 4 bits (nf4; nf4-single keeps the scales
    of the 4-bit numbers in float32, as FLARE's released code does: 0.4 bits more each), or in 8 bits (int8)."""


@dataclass(frozen=True)
class Training:
    """How one stage trains.

    The released code trains at lr 2e-5 with r 8, alpha 16, batch 32, warm-up 0.1 and no dropout. These defaults are the
    same except for the rate. On a few hundred rows a rate of 2e-5 leaves the adapter next to where it began (lora_B
    starts at zero and moves by about lr a step), so that only the task head learns: adapters need 1e-3 or more. Give a
    list to find the best rate for each method alike.
    """

    lr: Rate | tuple[Rate, ...] = 1e-3
    """Peak learning rate. Each rate of a list is tried, and the best one on the dev part is kept."""
    epochs: Annotated[int, Bounds(0)] = 10
    """Number of passes over the rows. Stage 1 also takes 0, or `stage1: none`: adapters start on the model as it is."""
    batch_size: Count = 32
    """Rows per batch."""
    accumulation: Count = 1
    """Batches per step: half the batch_size with twice the accumulation trains alike in less memory."""
    activation_checkpointing: bool = False
    """Whether activations are computed twice and not kept: less memory, about a third more time."""
    warmup: Share = 0.1
    """Part of the steps in which the rate rises."""
    weight_decay: Annotated[float, Bounds(0)] = 0.0
    """Weight decay of AdamW."""
    max_length: Annotated[int, Bounds(4)] = 128
    """Most tokens of a text, a pair or a prompt; longer ones are cut. For questions: the tokens of a window."""
    stride: Annotated[int, Bounds(0)] = 128
    """Tokens that a window repeats from the window before. For questions: at most two thirds of the window's piece of
    the context; with `task.long: windows`: at most half of its piece of the text."""
    answer_tokens: Count = 30
    """For questions: the most tokens of an answer."""
    balance: Balance = "none"
    """For labels that are not equally frequent: `weights` weights each row by the inverse frequency of its label;
    `sampling` draws the rows of each epoch so that all labels come equally often."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """`auto`: bf16 where the device has instructions for it, else fp32."""
    patience: Count | None = None
    """Training stops after this many evaluations without a better dev score; None: never."""
    evaluations: Count = 10
    """How many times a run is scored on the dev part, evenly spaced; the best state is kept."""
    r: Count = 8
    """Rank of the adapter."""
    alpha: Count = 16
    """The adapter's output is scaled by alpha / r."""
    dropout: Share = 0.0
    """Dropout of the adapter."""
    modules: Literal["attention", "all"] = "attention"
    """Which linear layers get LoRA: query and value (`attention`), or every one (`all`, as published for decoder-only
    models). Only query and value ever fuse."""

    @staticmethod
    def spelled() -> dict[str, dict[str, Any]]:
        """Return the texts that may stand in place of a mapping, each with its mapping."""
        return {"none": {"epochs": 0}}

    @property
    def trains(self) -> bool:
        """Whether the stage learns anything."""
        return self.epochs > 0

    @property
    def lrs(self) -> tuple[float, ...]:
        """The learning rates to try."""
        return self.lr if isinstance(self.lr, tuple) else (self.lr,)

    def deciding(self) -> dict[str, Any]:
        """Return the options that identify what is trained: those that differ from their defaults."""
        return changed(self, Training())


def changed(one: Any, other: Any) -> dict[str, Any]:
    """Return the fields of a dataclass whose values differ from those of another."""
    names = [each.name for each in dataclasses.fields(one)]
    return {name: getattr(one, name) for name in names if getattr(one, name) != getattr(other, name)}


def _check_version(version: int) -> None:
    if version > FORMATS["a recipe"]:
        known = FORMATS["a recipe"]
        raise UserError(f"the recipe is of version {version}, this crossflare reads {known}; upgrade crossflare")


@dataclass(frozen=True)
class Spec:
    """A whole recipe."""

    name: str
    """The recipe's name, and the name of the run's folder."""
    task: TaskSpec
    """The data: a named set, a repository on the hub, or own files."""
    source: LanguageTag
    """BCP-47 tag of the language with labels. Any other tag or name of a language is read as its tag, everywhere."""
    targets: tuple[LanguageTag, ...]
    """The target languages, as BCP-47 tags."""
    model: ModelSpec
    """The pretrained model."""
    seeds: tuple[Annotated[int, Bounds(0, 2**32 - 1)], ...]
    """Seeds of training; every method is run with each of them."""
    methods: Annotated[tuple[MethodSpec, ...], Keyed("name", "kind")]
    """The methods to compare."""
    translation: TranslationSpec = field(default_factory=TranslationSpec)
    """Where translations come from."""
    stage1: Training = field(default_factory=Training)
    """Training of the base on the labelled source rows."""
    stage2: Training = field(default_factory=Training)
    """Training of each method's adapter."""
    track: Tracker = "none"
    """The service that receives loss, learning rate and dev scores while models train; no result depends on it."""
    version: Annotated[int, Bounds(1), Checked(_check_version)] = FORMATS["a recipe"]
    """The format of the recipe; a later one than this crossflare knows is refused."""

    def method(self, name: str) -> MethodSpec:
        """Return the method of that name; KeyError when there is none."""
        return {method.name: method for method in self.methods}[name]

    def languages(self, method: MethodSpec) -> tuple[str, ...]:
        """Return the targets that a method is run in."""
        return tuple(target for target in self.targets if not method.languages or target in method.languages)

    @property
    def has_stage1(self) -> bool:
        """Whether stage 1 is trained: a method is built on it, and it is not left out."""
        return self.stage1.trains and any(method.about.on_stage1 for method in self.methods)

    def trained(self, method: MethodSpec) -> MethodSpec:
        """Return the method whose adapter `method` reads: itself, or the one it is `of`."""
        return self.method(method.of) if method.of else method

    def training(self, method: MethodSpec) -> Training:
        """Return how the adapter of `method` is trained: stage 2 with the method's own options."""
        base = self.trained(method)
        own = {name: getattr(base, name) for name in ("lr", "epochs", "r", "alpha")}
        own["lr"] = base.about.lr if own["lr"] is None else own["lr"]
        return dataclasses.replace(self.stage2, **{name: value for name, value in own.items() if value is not None})

    def without_originals(self, silent: Callable[[str], bool]) -> "Spec":
        """Return the recipe with the translation as training source, where the target's own rows have no other source.

        Args:
            silent: Whether the recipe names no source for the method with this name.
        """
        if self.translation is None or not self.translation.has_native:  # pyright: ignore  # it could not be read
            return self
        methods = tuple(
            dataclasses.replace(method, train_source="machine")
            if method.kind in KINDS and method.about.trains and method.about.reads == "both" and silent(method.name)
            else method
            for method in self.methods or ()
        )
        return dataclasses.replace(self, methods=methods)

    def resolved(self) -> dict[str, Any]:
        """Return the recipe with every default written out, as plain values."""
        return cast(dict[str, Any], _plain(self))

    def to_yaml(self) -> str:
        """Return the resolved recipe as YAML that `spec_from` reads back as an equal recipe."""
        return strict_yaml.dump(cast(dict[str, Any], _plain(self, escape=True)))


def _plain(value: Any, hint: Any = None, escape: bool = False) -> Any:
    """Return a dataclass as mappings, lists and plain values; with `escape`, each $ of a path is doubled."""
    if isinstance(value, EngineOptions | AdapterOptions):
        content = {name: getattr(value, name) for name in field_types(type(value)) if name != "options"}
        hints = value.more(content | dict(value.options))
        return content | {name: _plain(item, hints.get(name), escape) for name, item in value.options.items()}
    if isinstance(value, MethodSpec):
        hints = field_types(MethodSpec)
        names = [name for name in hints if name in ("kind", "of") or name in value.options]
        names = [name for name in names if name != "adapter" or value.adapter.options]
        return {name: _plain(getattr(value, name), hints[name], escape) for name in names}
    if dataclasses.is_dataclass(value):
        return {name: _plain(getattr(value, name), kind, escape) for name, kind in field_types(type(value)).items()}
    if isinstance(value, tuple | list):
        items = cast(tuple[Any, ...], value)
        if items and isinstance(items[0], MethodSpec):
            return {item.name: _plain(item, None, escape) for item in items}
        return [_plain(item, hint, escape) for item in items]
    if isinstance(value, dict):
        inner = item_type(hint)
        return {key: _plain(item, inner, escape) for key, item in cast(dict[str, Any], value).items()}
    return value.replace("$", "$$") if escape and isinstance(value, str) and is_path(hint, value) else value
