"""What a recipe says of a method: its kind, its options, and further options of its FLARE adapter."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, get_type_hints

from crossflare.fusions import ALIGNMENTS, FUSIONS
from crossflare.recipe.kinds import KINDS, Group, Kind, group_of
from crossflare.recipe.marks import Bounds, Checked, LanguageTag, Names
from crossflare.recipe.translation import Count, Rate, Share, check_train_source

SHAPING = ("fusion", "alignment", "lead", "source_dropout", "source_norm")
"""Options of `FlareConfig` that a method has itself, under the same names."""
_FOLLOWING = ("lora_alpha", "mt_dim", "released", "flare_format")
"""Those that follow from its training and its kind."""


def adapter_options() -> dict[str, Any]:
    """Return the type of each option; the first call loads torch and peft."""
    from crossflare.fusion.config import FlareConfig

    hints = get_type_hints(FlareConfig)
    return {name: hints[name] for name in FlareConfig.__annotations__ if name not in (*SHAPING, *_FOLLOWING)}


@dataclass(frozen=True)
class AdapterOptions:
    """Options of `FlareConfig`, under the names that they have there."""

    options: Mapping[str, Any] = field(default_factory=dict[str, Any], hash=False)

    @staticmethod
    def more(content: Mapping[str, Any]) -> dict[str, Any]:
        """Return the types of the options; nothing is loaded where none is given."""
        return adapter_options() if content else {}


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
    """The target language whose adapter is read in every other one too; None: each language has its own. Of a probe
    also the source language: it then learns from the labelled rows there, and reads every target with that."""
    through: LanguageTag | None = None
    """A related language, a target or not, in which LoRA is trained first, on top of stage 1, with the method's own lr,
    epochs, r and alpha; its rows come as those of the targets do. It is merged before the method's own adapter."""
    languages: tuple[LanguageTag, ...] = ()
    """The targets that the method is run in; none: all of them."""
    lr: Rate | tuple[Rate, ...] | None = None
    """None: what stage 2 says; of `full` 2e-5, since adapters want far higher rates than all weights do."""
    epochs: Count | None = None
    r: Count | None = None
    alpha: Count | None = None
    fusion: Annotated[str, Names("value", lambda: tuple(FUSIONS))] = "add_relu"
    """The function phi that makes one low-rank state of the source's and the target's."""
    alignment: Annotated[str, Names("value", lambda: ALIGNMENTS)] | None = None
    """None: `position`, or `none` for a function that aligns by itself, as cross_attention does."""
    lead: Annotated[int, Bounds(0, 1)] = 1
    """Blocks by which the source is ahead of the target: 1 as published, 0 as in the released code."""
    source_dropout: Share = 0.0
    """Part of the training rows whose source is left out."""
    source_norm: bool = True
    """Whether a pre-norm model's source states pass through the block's input norm; false in the released code."""
    adapter: AdapterOptions = field(default_factory=AdapterOptions)
    """Further options of `FlareConfig`, as `fuse_cross_attention: true`; `crossflare methods flare` lists them."""

    def __post_init__(self) -> None:
        kind, fusion = KINDS.get(self.kind), FUSIONS.get(self.fusion)
        made: dict[str, Any] = {"alignment": self.alignment or (fusion.alignment if fusion else "position")}
        if kind is not None:  # an unknown one is a mistake of the recipe, which is told elsewhere
            made |= {"train_source": self.train_source or kind.train_source, **kind.fixed}
        for name, value in made.items():
            object.__setattr__(self, name, value)

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
        own |= {"adapter"} if self.about.fuses and not self.of else frozenset()
        apart = not self.joint and (self.about.trains or self.about.needs_of)
        return own | {"languages"} | ({"trained_in"} if apart else frozenset())
