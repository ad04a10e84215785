"""The table of methods: what each kind is made of, in data, model and prediction. All are trained by one recipe.

A recipe names methods of these kinds with their options (`MethodSpec`); `crossflare methods` prints the table.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from crossflare.recipe.marks import Bounds, Checked, LanguageTag, Names
from crossflare.recipe.translation import Count, Rate, Share, check_train_source

Reads = Literal["target", "source", "both", "latents"]
"""The texts; their sources in their place; both; or the texts with the states of a translation encoder."""
Mixes = Literal["none", "published", "plain", "filter"]
"""How a model that is given both mixes them where it is not FLARE that does (see `training.forms.make_form`)."""
Group = Literal["baseline", "rival", "flare", "combination", "control", "upper bound"]
"""Where a table of results puts a method."""

_LORA = frozenset({"lr", "epochs", "r", "alpha"})
_FED = frozenset({"train_source", "test_source", "joint"})
_FUSED = _LORA | _FED | {"fusion", "alignment", "lead", "source_dropout", "source_norm"}
_READERS = frozenset({"lora", "flare", "flare-mt", "input-fusion", "xmixup", "xmixup-lora", "filter"})


@dataclass(frozen=True)
class Kind:
    """What one kind of method is made of."""

    about: str
    """One line for listings."""
    group: Group
    cites: str = ""
    """Where it comes from."""
    options: frozenset[str] = frozenset()
    """Fields of `MethodSpec` that mean something for this kind."""
    of: frozenset[str] = frozenset()
    """Kinds whose trained adapters it reads; empty: `of` is refused."""
    trains: bool = False
    """Whether it trains an adapter of its own when it has no `of`."""
    train_source: str = "original"
    """The source in training where the recipe does not say."""
    reads_source: bool = False
    """Whether its test rows are read with a translation (unless `test_source` is none)."""
    reads: Reads = "target"
    """What a model is given, in training and at test time; nothing for combinations of other methods."""
    fuses: bool = False
    """Whether its adapter is FLARE's; else LoRA's."""
    joins: bool = False
    """Whether source and target are one sequence."""
    mixes: Mixes = "none"
    padded: bool = False
    """Whether every batch is as wide as the longest text may be."""
    combines: bool = False
    """Whether it combines log-probabilities of labels, which answers to questions have none of."""

    @property
    def needs_of(self) -> bool:
        """Whether the kind is nothing without another method."""
        return bool(self.of) and not self.trains


FLARE = "Borchert et al., ACL 2025, arXiv 2501.06892"
KINDS: dict[str, Kind] = {
    "zero-shot": Kind("the stage-1 model reads the target text", "baseline"),
    "translate-test": Kind(
        "the stage-1 model reads the translation into the source language",
        "baseline",
        "Conneau et al., EMNLP 2018, arXiv 1809.05053",
        frozenset({"test_source"}),
        reads_source=True,
        reads="source",
    ),
    "translate-test-roundtrip": Kind(
        "translate-test by a model that LoRA has tuned on round-trip source text, such as it meets at test time",
        "rival",
        "Artetxe et al., EMNLP 2023, arXiv 2305.14240",
        _LORA | {"test_source"},
        trains=True,
        train_source="machine",
        reads_source=True,
        reads="source",
    ),
    "lora": Kind(
        "LoRA on the translated training set (translate-train)",
        "baseline",
        "Hu et al., ICLR 2022, arXiv 2106.09685",
        _LORA | {"joint"},
        trains=True,
    ),
    "input-fusion": Kind(
        "LoRA on source and target in one sequence of double length",
        "rival",
        f"the baseline of {FLARE}",
        _LORA | _FED,
        trains=True,
        reads_source=True,
        reads="both",
        joins=True,
    ),
    "xmixup": Kind(
        "X-Mixup as published, on LoRA: one block mixes by cross-attention with an entropy gate; losses on both "
        "languages, consistency, scheduled sampling of the source, logits averaged",
        "rival",
        "Yang et al., ICLR 2022, arXiv 2205.04182",
        _LORA | _FED | {"mix_block"},
        trains=True,
        train_source="annealed(1000)",
        reads_source=True,
        reads="both",
        mixes="published",
    ),
    "xmixup-lora": Kind(
        "X-Mixup's block alone, per language: the target's loss, no consistency, no averaging",
        "rival",
        f"the baseline of {FLARE}",
        _LORA | _FED | {"mix_block"},
        trains=True,
        reads_source=True,
        reads="both",
        mixes="plain",
    ),
    "filter": Kind(
        "FILTER's way on LoRA: a few blocks attend across target and source, the others apart",
        "rival",
        "Fang et al., AAAI 2021, arXiv 2009.05166",
        _LORA | _FED | {"mix_block", "mix_blocks"},
        trains=True,
        reads_source=True,
        reads="both",
        mixes="filter",
    ),
    "flare": Kind(
        "LoRA whose bottleneck fuses the text with its translation",
        "flare",
        FLARE,
        _FUSED,
        frozenset({"flare"}),
        trains=True,
        reads_source=True,
        reads="both",
        fuses=True,
    ),
    "flare-mt": Kind(
        "FLARE on the states of a translation model's encoder reading the target text; nothing is translated at test",
        "flare",
        FLARE,
        _LORA | {"fusion", "alignment", "source_dropout"},
        trains=True,
        reads="latents",
        fuses=True,
    ),
    "flare-released": Kind(
        "FLARE as its released code computes it: padding fused, no lead, dropout in the source pass",
        "control",
        "github.com/pnborchert/FLARE, commit 4f402db",
        _LORA | {"fusion", "train_source", "test_source"},
        trains=True,
        reads_source=True,
        reads="both",
        fuses=True,
        padded=True,
    ),
    "flare-no-source": Kind(
        "a trained FLARE adapter with no translation at test time", "control", of=frozenset({"flare"})
    ),
    "flare+source": Kind(
        "FLARE averaged with the base model's own prediction for the translation",
        "combination",
        options=frozenset({"test_source"}),
        of=frozenset({"flare"}),
        reads_source=True,
        combines=True,
    ),
    "ensemble": Kind(
        "a trained adapter averaged with translate-test: FLARE's equal-cost rival",
        "combination",
        "Ebing and Glavaš, 2025, arXiv 2505.10507",
        frozenset({"test_source"}),
        _READERS,
        reads_source=True,
        combines=True,
    ),
    "stack": Kind(
        "a trained adapter and translate-test, weighed by a logistic regression fitted on dev rows",
        "combination",
        "Wolpert, Neural Networks 1992",
        frozenset({"test_source"}),
        _READERS,
        reads_source=True,
        combines=True,
    ),
}
"""Name -> kind."""

CONTROLS = ("shuffled", "none", "target")
"""Sources with which a method is only a control."""


def group_of(options: Mapping[str, Any]) -> Group | None:
    """Return where a table puts a method, by its kind and sources as a recipe or a record says them."""
    sources = (options.get("test_source"), options.get("train_source"))
    kind = KINDS.get(str(options.get("kind")))
    if kind is None:
        return None
    if "oracle" in sources:
        return "upper bound"
    return "control" if kind.reads_source and any(each in CONTROLS for each in sources) else kind.group


Fusion = Literal["add", "mul", "add_relu", "mul_relu", "cross_attention", "cross_attention_paper"]
Alignment = Literal["position", "proportional", "attention", "none"]


@dataclass(frozen=True)
class MethodSpec:
    """One row of the results: a kind of method with its options. What stage 2 says holds where an option is None."""

    name: str
    kind: Annotated[str, Names("kind", lambda: tuple(KINDS))]
    of: str | None = None
    """The method whose trained adapter this one reads."""
    train_source: Annotated[str, Checked(check_train_source)] | None = None
    """The source in training: `original`, the labelled rows themselves; `machine`, the round trip: the target rows
    translated back, as at test time; `mixed(p)`: the round trip for a share p of the rows, drawn by row and seed;
    `annealed(k)`: the original with the chance k / (k + exp(step / k)), else the round trip, drawn anew at every step
    (the dev rows of both get the round trip, as the test rows do). As controls: `shuffled`, the translation back of
    another row, `target`, the target text itself, or `none`, no source at all. None: what the kind says, `original`
    for most."""
    test_source: Literal["machine", "oracle", "shuffled", "target", "none"] = "machine"
    """The source at test time: a translation, the set's own source text (an upper bound), another row's translation or
    the target text itself (controls), or none."""
    joint: bool = False
    """One adapter for all of its languages, trained on all their rows, an item in all languages in one batch (of at
    most `batch_size` rows); else one for each."""
    mix_block: Annotated[int, Bounds(0)] | None = None
    """xmixup: the block that mixes; filter: the first that does. None: as their authors released them, 0 for labels and
    15 of 24 for questions; 1."""
    mix_blocks: Count | None = None
    """filter: how many blocks attend across both languages. None: as released, 1 for labels, 20 of 24 for questions."""
    trained_in: LanguageTag | None = None
    """The target language whose adapter is read in every other one too; None: each language has its own."""
    languages: tuple[LanguageTag, ...] = ()
    """The targets that the method is run in; none: all of them."""
    lr: Rate | tuple[Rate, ...] | None = None
    epochs: Count | None = None
    r: Count | None = None
    alpha: Count | None = None
    fusion: Fusion = "add_relu"
    alignment: Alignment | None = None
    """None: `position`, or `none` for cross_attention, which aligns by itself."""
    lead: Annotated[int, Bounds(0, 1)] = 1
    """Blocks by which the source is ahead of the target: 1 as published, 0 as in the released code."""
    source_dropout: Share = 0.0
    """Part of the training rows whose source is left out."""
    source_norm: bool = True
    """Whether a pre-norm model's source states pass through the block's input norm; false in the released code."""

    def __post_init__(self) -> None:
        if self.train_source is None and self.kind in KINDS:
            object.__setattr__(self, "train_source", KINDS[self.kind].train_source)
        if self.alignment is None:
            object.__setattr__(self, "alignment", "none" if self.fusion == "cross_attention" else "position")
        if self.kind == "flare-released":
            object.__setattr__(self, "lead", 0)
            object.__setattr__(self, "source_norm", False)
        if self.kind == "flare-no-source":
            object.__setattr__(self, "test_source", "none")

    @property
    def about(self) -> Kind:
        """What the kind is made of."""
        return KINDS[self.kind]

    @property
    def group(self) -> Group:
        """Where a table puts it."""
        sources = {name: getattr(self, name) for name in ("train_source", "test_source") if name in self.about.options}
        return group_of({"kind": self.kind, **sources}) or self.about.group

    @property
    def training_source(self) -> str:
        """The source that its adapter is trained with: `none` where it reads the target text alone."""
        if self.about.reads == "latents":
            return "latents"
        return "none" if self.about.reads == "target" else str(self.train_source)

    @property
    def options(self) -> frozenset[str]:
        """The fields that mean something here: an adapter that is trained elsewhere takes no training options."""
        own = self.about.options & {"test_source"} if self.of else self.about.options
        apart = not self.joint and (self.about.trains or self.about.needs_of)
        return own | {"languages"} | ({"trained_in"} if apart else frozenset())
