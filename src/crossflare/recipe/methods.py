"""What a recipe says about a method: its kind, its options, and further options of its FLARE adapter."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, get_type_hints

from crossflare.fusions import ALIGNMENTS, FUSIONS
from crossflare.recipe.kinds import KINDS, Group, Kind, group_of
from crossflare.recipe.marks import Bounds, Checked, LanguageTag, ModelPath, Names, PathText
from crossflare.recipe.task import PartSpec
from crossflare.recipe.templates import check_endpoint, check_template
from crossflare.recipe.translation import Count, Rate, Share, check_train_source

SHAPING = ("fusion", "alignment", "lead", "source_dropout", "source_norm")
"""Options of `FlareConfig` that a method has itself, under the same names."""
_FOLLOWING = ("lora_alpha", "mt_dim", "released", "flare_format")
"""Options of `FlareConfig` that follow from the method's training and kind."""


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
        """Return the types of the options; nothing is loaded where the mapping has none."""
        return adapter_options() if content else {}


@dataclass(frozen=True)
class MethodSpec:
    """One row of the results: a kind of method with its options. Where an option is None, stage 2 decides."""

    name: str
    kind: Annotated[str, Names("kind", lambda: tuple(KINDS))]
    """The kind of method."""
    of: str | None = None
    """The method whose trained adapter this one reads."""
    train_source: Annotated[str, Checked(check_train_source)] | None = None
    """The source text in training. `original`: the labelled source rows themselves. `machine`: the round trip, that is
    the target rows translated back, as at test time. `mixed(p)`: the round trip for a share p of the rows, drawn by row
    and seed. `annealed(k)`: the original with probability k / (k + exp(step / k)), else the round trip, drawn again at
    every step. With `mixed(p)` and `annealed(k)` the dev rows get the round trip, as the test rows do. Controls:
    `shuffled`, the translation of another row; `target`, the target text itself; `none`, no source at all. None: the
    kind decides, `original` for most kinds."""
    test_source: Literal["machine", "oracle", "shuffled", "target", "none"] | None = None
    """The source text at test time: `machine`, a translation; `oracle`, the set's own source text (an upper bound); as
    controls `shuffled`, another row's translation, `target`, the target text itself, or `none`, no source. A prompt
    reads the source in place of the text. None: `machine`, for a prompt `none`, the text itself."""
    joint: bool = False
    """One adapter for all of the method's languages, trained on the rows of all of them; a batch (at most `batch_size`
    rows) has each item in all languages. False: one adapter for each language."""
    mix_block: Annotated[int, Bounds(0)] | None = None
    """xmixup: the block that mixes (an encoder-decoder mixes in its encoder); filter: the first block that mixes. None:
    the value of the authors' code, for xmixup 0 for labels and 15 of 24 for questions, for filter 1."""
    mix_blocks: Count | None = None
    """filter: how many blocks attend across both languages. None: as released, 1 for labels, 20 of 24 for questions."""
    trained_in: LanguageTag | None = None
    """The target language whose adapter reads all other targets, too; None: each language has its own adapter. A probe
    may also name the source language: it then learns from the labelled rows there, and reads every target."""
    through: LanguageTag | None = None
    """A related language, a target or not, in which LoRA is trained first, on top of stage 1, with the method's own lr,
    epochs, r and alpha. Its rows come from where the targets' rows do. It is merged before the method's adapter."""
    languages: tuple[LanguageTag, ...] = ()
    """The targets that the method is run in; empty: all of them."""
    lr: Rate | tuple[Rate, ...] | None = None
    """None: the rate of stage 2; for `full` 2e-5, since adapters need far higher rates than all weights do."""
    epochs: Count | None = None
    """None: that of stage 2."""
    r: Count | None = None
    """None: that of stage 2."""
    alpha: Count | None = None
    """None: that of stage 2."""
    fusion: Annotated[str, Names("value", lambda: tuple(FUSIONS))] = "add_relu"
    """The function phi that makes one low-rank state out of the source's and the target's."""
    alignment: Annotated[str, Names("value", lambda: ALIGNMENTS)] | None = None
    """How source states are matched to target states. None: `position`, or `none` for a function that aligns by itself,
    as cross_attention does."""
    lead: Annotated[int, Bounds(0, 1)] = 1
    """How many blocks the source is ahead of the target: 1 as published, 0 as in the released code."""
    source_dropout: Share = 0.0
    """Share of the training rows whose source is left out."""
    source_norm: bool = True
    """Whether a pre-norm model's source states pass through the block's input norm; false in the released code."""
    file: PathText | PartSpec | None = field(default=None, hash=False)
    """predictions: the file with the answers, or `path` with the options of own files, such as `id` and `label`, the
    columns of the row's id (`id`) and of its answer (`prediction`). `{language}` and `{seed}` stand for the tag and the
    number, also in `where`. Probabilities are in columns `p(LABEL)`, in JSON in `probabilities`: {LABEL: share}."""
    model: ModelPath | None = None
    """prompt: a decoder-only model on this machine or on the hub; with `endpoint` the model's name there. None: the
    recipe's model."""
    revision: str | None = None
    """prompt: the hub commit of `model`; None: the newest."""
    endpoint: Annotated[str, Checked(check_endpoint)] | None = None
    """prompt: the address of an OpenAI-compatible server, such as `http://localhost:8000/v1`, to which test rows are
    sent; one that ends in `/completions`, but not in `/chat/completions`, is not asked as a chat. None: nothing is sent
    anywhere."""
    key_env: str | None = None
    """prompt: the environment variable that holds the endpoint's key; None: it needs none."""
    template: Annotated[str, Checked(check_template)] | None = None
    """prompt: the text before the answer, with `{text}`, of a pair `{text}` and `{text2}`, of a question `{question}`
    and `{context}`, and perhaps `{labels}`, the labels' words. None: one of crossflare's own, in English."""
    words: dict[str, str] = field(default_factory=dict[str, str], hash=False)
    """prompt: label -> the word that stands for it, where that is not the one of `task.words` or the label itself."""
    shots: Annotated[int, Bounds(0, 100)] = 0
    """prompt: how many rows of the source language's train part stand before each row, with their answers: as many of
    each label as possible, drawn by the seed, the same for all rows."""
    at_once: Count = 4
    """prompt: the most requests to the endpoint at the same time."""
    timeout: Annotated[int, Bounds(1)] = 120
    """prompt: the most seconds that the endpoint may take for one answer."""
    adapter: AdapterOptions = field(default_factory=AdapterOptions)
    """Further options of `FlareConfig`, such as `fuse_cross_attention: true`; `crossflare methods flare` lists them."""

    def __post_init__(self) -> None:
        kind, fusion = KINDS.get(self.kind), FUSIONS.get(self.fusion)
        made: dict[str, Any] = {"alignment": self.alignment or (fusion.alignment if fusion else "position")}
        if kind is not None:  # an unknown kind is a mistake of the recipe, which is reported elsewhere
            made |= {"train_source": self.train_source or kind.train_source}
            made |= {"test_source": self.test_source or kind.test_source, **kind.fixed}
        for name, value in made.items():
            object.__setattr__(self, name, value)

    @property
    def about(self) -> Kind:
        """The properties of the kind."""
        return KINDS[self.kind]

    @property
    def group(self) -> Group:
        """Where a table of results puts it."""
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
        """The fields that have a meaning here: an adapter that another method trains takes no training options."""
        own = self.about.options & {"test_source"} if self.of else self.about.options
        own |= {"adapter"} if self.about.fuses and not self.of else frozenset()
        apart = not self.joint and (self.about.trains or self.about.needs_of)
        return own | {"languages"} | ({"trained_in"} if apart else frozenset())
