"""The table of methods: the data, model and prediction of each kind. One recipe trains all of them.

A recipe names methods of these kinds with their options (`MethodSpec`); `crossflare methods` prints the table.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Reads = Literal["target", "source", "both", "latents"]
"""The target texts; their sources instead; both; or the target texts with the states of a translation encoder."""
Mixes = Literal["none", "published", "plain", "filter"]
"""How a model that gets both texts mixes them, where FLARE does not do it (see `training.forms.make_form`)."""
Learns = Literal["adapter", "probe", "model"]
"""An adapter on the base with stage 1 merged in; a regression on sentence vectors of the base as it is; or all weights
of the base with stage 1 merged in."""
Outside = Literal["", "file", "prompt"]
"""Who answers in place of the recipe's models: nobody, a file, or a language model that is asked."""
Group = Literal["baseline", "rival", "flare", "combination", "control", "upper bound"]
"""Where a table of results puts a method."""

_LORA = frozenset({"lr", "epochs", "r", "alpha"})
_FED = frozenset({"train_source", "test_source", "joint"})
_FUSED = _LORA | _FED | {"fusion", "alignment", "lead", "source_dropout", "source_norm"}
_READERS = frozenset(
    {"probe", "lora", "pivot", "full", "flare", "flare-mt", "input-fusion", "xmixup", "xmixup-lora", "filter"}
)


@dataclass(frozen=True)
class Kind:
    """The properties of one kind of method."""

    about: str
    """One line for listings."""
    group: Group
    cites: str = ""
    """The publication it comes from."""
    options: frozenset[str] = frozenset()
    """Fields of `MethodSpec` that have a meaning for this kind."""
    of: frozenset[str] = frozenset()
    """Kinds whose trained adapters it reads; empty: `of` is refused."""
    trains: bool = False
    """Whether it trains an adapter of its own when it has no `of`."""
    learns: Learns = "adapter"
    """What it trains."""
    lr: float | None = None
    """The learning rate where the method names none; None: that of stage 2."""
    train_source: str = "original"
    """The source in training where the recipe names none."""
    test_source: str = "machine"
    """The source at test time where the recipe names none."""
    reads_source: bool = False
    """Whether its test rows are read with a translation (unless `test_source` is none)."""
    reads: Reads = "target"
    """What a model gets, in training and at test time; without meaning for combinations of other methods."""
    fuses: bool = False
    """Whether its adapter is FLARE's; else it is LoRA's."""
    joins: bool = False
    """Whether source and target are one sequence."""
    mixes: Mixes = "none"
    padded: bool = False
    """Whether every batch is padded to the greatest length allowed."""
    outside: Outside = ""
    combines: Literal["", "own source", "translate-test"] = ""
    """The log-probabilities of labels that join the adapter's: those of the base model for the source, beside the
    adapter's own, or those of another kind; empty: it reads alone. Answers to questions have no such probabilities."""
    fitted: bool = False
    """Whether the weights of a combination are fitted on the dev rows."""
    fixed: Mapping[str, Any] = field(default_factory=dict[str, Any], hash=False)
    """Fields of `MethodSpec` that the kind decides, whatever the recipe says."""

    @property
    def adapted(self) -> bool:
        """Whether an adapter reads the rows, its own or that of another method."""
        return self.trains or bool(self.of)

    @property
    def on_stage1(self) -> bool:
        """Whether the model that it reads with is built on stage 1."""
        return self.learns != "probe" and not self.outside

    @property
    def reads_with_stage1(self) -> bool:
        """Whether the model of stage 1 reads the test rows, alone or beside an adapter."""
        return not self.outside and (not self.adapted or bool(self.combines))

    @property
    def needs_of(self) -> bool:
        """Whether the kind cannot exist without another method."""
        return bool(self.of) and not self.trains


FLARE = "Borchert et al., ACL 2025, arXiv 2501.06892"
KINDS: dict[str, Kind] = {
    "zero-shot": Kind("the stage-1 model reads the target text", "baseline"),
    "probe": Kind(
        "logistic regression on the base's sentence vectors, on which nothing else is trained: a matter of seconds",
        "baseline",
        "Alain and Bengio, 2016, arXiv 1610.01644",
        frozenset({"joint"}),
        trains=True,
        learns="probe",
    ),
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
    "prompt": Kind(
        "a language model, here or at an endpoint, answers from a template with few or no examples; nothing is trained",
        "baseline",
        "Brown et al., NeurIPS 2020, arXiv 2005.14165",
        frozenset({"test_source", "model", "revision", "endpoint", "key_env", "template", "words", "shots"})
        | {"at_once", "timeout"},
        test_source="none",
        reads_source=True,
        reads="source",
        outside="prompt",
    ),
    "predictions": Kind(
        "the answers of any other system, from a file, by the ids of the test rows",
        "baseline",
        options=frozenset({"file"}),
        outside="file",
    ),
    "lora": Kind(
        "LoRA on the translated training set (translate-train)",
        "baseline",
        "Hu et al., ICLR 2022, arXiv 2106.09685",
        _LORA | {"joint"},
        trains=True,
    ),
    "pivot": Kind(
        "LoRA through a related language: on stage 1 in the language that `through` names, merged, then in the target",
        "rival",
        "Phang et al., 2018, arXiv 1811.01088",
        _LORA | {"joint", "through"},
        trains=True,
    ),
    "full": Kind(
        "all weights of the base are trained on, from stage 1: each saved model is as large as the base",
        "rival",
        "Devlin et al., NAACL 2019, arXiv 1810.04805",
        frozenset({"lr", "epochs", "joint"}),
        trains=True,
        learns="model",
        lr=2e-5,
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
        _FUSED | {"through"},
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
        fixed={"lead": 0, "source_norm": False},
    ),
    "flare-no-source": Kind(
        "a trained FLARE adapter with no translation at test time",
        "control",
        of=frozenset({"flare"}),
        fixed={"test_source": "none"},
    ),
    "flare+source": Kind(
        "FLARE averaged with the base model's own prediction for the translation",
        "combination",
        options=frozenset({"test_source"}),
        of=frozenset({"flare"}),
        reads_source=True,
        combines="own source",
    ),
    "ensemble": Kind(
        "a trained adapter averaged with translate-test: FLARE's equal-cost rival",
        "combination",
        "Ebing and Glavaš, 2025, arXiv 2505.10507",
        frozenset({"test_source"}),
        _READERS,
        reads_source=True,
        combines="translate-test",
    ),
    "stack": Kind(
        "a trained adapter and translate-test, weighed by a logistic regression fitted on dev rows",
        "combination",
        "Wolpert, Neural Networks 1992",
        frozenset({"test_source"}),
        _READERS,
        reads_source=True,
        combines="translate-test",
        fitted=True,
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
    changed = any(each in CONTROLS and each != kind.test_source for each in sources)
    return "control" if kind.reads_source and changed else kind.group
