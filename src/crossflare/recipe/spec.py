"""What a recipe says, as values: task, model, training, and the whole; `read` reads them."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, cast

from crossflare.errors import UserError
from crossflare.recipe import strict_yaml
from crossflare.recipe.adapter import AdapterOptions
from crossflare.recipe.kinds import KINDS
from crossflare.recipe.marks import (
    Bounds,
    Checked,
    Keyed,
    Label,
    LanguageTag,
    ModelPath,
    Names,
    PathText,
    field_types,
    is_path,
    item_type,
)
from crossflare.recipe.methods import MethodSpec
from crossflare.recipe.translation import (
    Count,
    EngineOptions,
    Limit,
    Rate,
    Share,
    TranslationSpec,
)
from crossflare.tasks.kinds import Metric, QuestionMetric
from crossflare.tasks.layout import Align, FileLayout, FilePart
from crossflare.tasks.sets import KNOWN_SETS, KnownSet

Part = Literal["train", "dev", "test"]
Quantisation = Literal["none", "nf4", "int8"]
Answering = Literal["head", "text"]
Balance = Literal["none", "weights", "sampling"]


@dataclass(frozen=True)
class PartSpec(FilePart):
    """The files of one part where they are not as those of the task."""

    path: PathText | tuple[PathText, ...] = ()
    """A file, a pattern as `train-*.csv`, or a list of them."""


@dataclass(frozen=True)
class TaskSpec(FileLayout):
    """Where the labelled rows come from: a named set, or the user's own files."""

    set: Annotated[str, Names("set", lambda: tuple(KNOWN_SETS))] | None = None
    """A named set; None: `files` says where the rows are."""
    folder: PathText | None = None
    """Where the named set lies on this machine."""
    dev_from_train: Count | None = None
    """Rows cut from the end of train to be dev; None: the set has a dev part."""
    limit: Limit = field(default_factory=Limit)
    form: Answering = "head"
    """How the model answers: by a new head over its states, or in its own words (models that write)."""
    words: dict[str, str] = field(default_factory=dict[str, str])
    """With form `text`: label -> the word that the model writes for it, where that is not the label itself."""
    questions: bool = False
    """The own files hold questions with a context and answers, in SQuAD's layout or as flat rows."""
    labels: tuple[Label, ...] = ()
    """The label names, in the order of the classifier's outputs; numbers and truth values go by their text."""
    aliases: dict[str, Label] = field(default_factory=dict[str, str])
    """Other spellings of labels found in the files: spelling -> label."""
    files: dict[LanguageTag, dict[Part, PathText | tuple[PathText, ...] | PartSpec]] = field(
        default_factory=dict[str, dict[Part, str | tuple[str, ...] | PartSpec]]
    )
    """language -> part -> its file, a pattern as `train-*.csv`, a list of them, or `path` with options of its own."""
    align: Align | None = None
    """How the own files of two languages correspond: by the rows' names, by their place, or not at all. None: by name
    where `id` names a column or the rows are questions, else by place."""
    main_metric: Literal[Metric, QuestionMetric] | None = None
    """By which models are chosen; None: as a named set says, else accuracy of labels, f1 of answers."""

    @property
    def asks(self) -> bool:
        """Whether the task is to answer questions."""
        return self.questions or (self._known is not None and self._known.asks)

    @property
    def lexicon(self) -> Callable[[str], Mapping[str, str]] | None:
        """The dictionary that the named set brings; None: it has none."""
        return None if self._known is None else self._known.lexicon

    @property
    def _known(self) -> KnownSet | None:
        return KNOWN_SETS.get(self.set or "")

    def choosing(self) -> dict[str, Any]:
        """Return what a trained model is named by, too: the main metric, where it is not the one by default."""
        usual = "f1" if self.asks else "accuracy" if self.set is None else None  # a named set of labels has its own
        named = self.main_metric not in (None, usual)
        return {"main_metric": self.main_metric} if named else {}


@dataclass(frozen=True)
class ModelSpec:
    """The pretrained model that everything starts from."""

    name: ModelPath
    """`minilm` (in the extra demo), `multilingual-e5-small` (in the extra multilingual), a model of the laboratory such
    as `lab-encoder`, a hub name, or a folder (starting with `.`, `~`, `$` or `/`)."""
    revision: str | None = None
    """The hub commit; None: the newest, which the record then names."""
    quantise: Quantisation = "none"
    """How the frozen weights are kept while adapters train: as they are, in 4 bits (nf4), or in 8 (int8)."""


@dataclass(frozen=True)
class Training:
    """How one stage trains.

    The released code trains at lr 2e-5 with r 8, alpha 16, batch 32, warm-up 0.1 and no dropout. All but the rate are
    kept. On a few hundred rows 2e-5 leaves the adapter next to where it began (lora_B starts at zero and moves by
    about lr a step), so that only the task head learns: adapters want 1e-3 or more, and the best rate should be found
    for each method alike by giving a list.
    """

    lr: Rate | tuple[Rate, ...] = 1e-3
    """Peak learning rate; of a list each is tried and the best on the dev part kept."""
    epochs: Annotated[int, Bounds(0)] = 10
    """Times that every row is read; of stage 1 also 0, or `stage1: none`: adapters start on the model as it is."""
    batch_size: Count = 32
    accumulation: Count = 1
    """Batches of a step: half the batch_size with twice the accumulation trains alike in less memory."""
    activation_checkpointing: bool = False
    """Compute activations twice rather than keep them: less memory, about a third more time."""
    warmup: Share = 0.1
    """Part of the steps in which the rate rises."""
    weight_decay: Annotated[float, Bounds(0)] = 0.0
    max_length: Annotated[int, Bounds(4)] = 128
    """Tokens of a text, of a pair, or of a prompt; longer ones are cut. Of questions, tokens of a window."""
    stride: Annotated[int, Bounds(0)] = 128
    """Of questions: tokens of the context that a window repeats of the one before."""
    answer_tokens: Count = 30
    """Of questions: most tokens of an answer."""
    balance: Balance = "none"
    """Of labels that are not equally frequent: `weights` weighs each row by the inverse frequency of its label;
    `sampling` draws the rows of each epoch so that all labels come equally often."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    patience: Count | None = None
    """Evaluations without a better dev score after which training stops; None: never."""
    evaluations: Count = 10
    """Times a run is scored on the dev part, evenly spaced; the best is kept."""
    r: Count = 8
    alpha: Count = 16
    dropout: Share = 0.0
    modules: Literal["attention", "all"] = "attention"
    """Which linear layers get LoRA: query and value, or every one (as published for decoder-only models). Only query
    and value ever fuse."""

    @staticmethod
    def spelled() -> dict[str, dict[str, Any]]:
        """Return what may stand in place of a mapping, and for which one."""
        return {"none": {"epochs": 0}}

    @property
    def trains(self) -> bool:
        """Whether anything is learnt."""
        return self.epochs > 0

    @property
    def lrs(self) -> tuple[float, ...]:
        """The learning rates to try."""
        return self.lr if isinstance(self.lr, tuple) else (self.lr,)

    def deciding(self) -> dict[str, Any]:
        """Return the options that what is trained is named by: those that are not as they are by default."""
        return changed(self, Training())


def changed(one: Any, other: Any) -> dict[str, Any]:
    """Return the fields of a dataclass whose values are not those of another."""
    names = [each.name for each in dataclasses.fields(one)]
    return {name: getattr(one, name) for name in names if getattr(one, name) != getattr(other, name)}


VERSION = 1
"""The format of recipes."""


def _check_version(version: int) -> None:
    if version > VERSION:
        raise UserError(f"the recipe is of version {version}, this crossflare reads {VERSION}; upgrade crossflare")


@dataclass(frozen=True)
class Spec:
    """A whole recipe."""

    name: str
    """Also the name of the run's folder."""
    task: TaskSpec
    source: LanguageTag
    """BCP-47 tag of the language with labels; any other tag or name of it is read as this one, here and elsewhere."""
    targets: tuple[LanguageTag, ...]
    model: ModelSpec
    seeds: tuple[Annotated[int, Bounds(0, 2**32 - 1)], ...]
    methods: Annotated[tuple[MethodSpec, ...], Keyed("name", "kind")]
    translation: TranslationSpec = field(default_factory=TranslationSpec)
    stage1: Training = field(default_factory=Training)
    stage2: Training = field(default_factory=Training)
    version: Annotated[int, Bounds(1), Checked(_check_version)] = VERSION
    """The format of the recipe; a later one than this crossflare knows is refused."""

    def method(self, name: str) -> MethodSpec:
        """Return the method of that name; KeyError when there is none."""
        return {method.name: method for method in self.methods}[name]

    def languages(self, method: MethodSpec) -> tuple[str, ...]:
        """Return the targets that a method is run in."""
        return tuple(target for target in self.targets if not method.languages or target in method.languages)

    def trained(self, method: MethodSpec) -> MethodSpec:
        """Return the method whose adapter `method` reads: itself, or the one it is `of`."""
        return self.method(method.of) if method.of else method

    def training(self, method: MethodSpec) -> Training:
        """Return how the adapter of `method` is trained: stage 2 with the method's own options."""
        base = self.trained(method)
        own = {name: getattr(base, name) for name in ("lr", "epochs", "r", "alpha")}
        return dataclasses.replace(self.stage2, **{name: value for name, value in own.items() if value is not None})

    def without_originals(self, silent: Callable[[str], bool]) -> "Spec":
        """Return the recipe with the translation as training source, where rows of the target's own have no other.

        Args:
            silent: Whether the recipe leaves the source open of the method with this name.
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
