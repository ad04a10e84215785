"""The kinds of method that a recipe may name: which options each takes, and what it must be made of."""

from dataclasses import dataclass
from typing import Any, Literal

from crossflare.errors import choose
from crossflare.experiment.marks import ModelPath, PathText

Reads = Literal["target", "source", "both", "latents"]
"""The texts; their sources in their place; both; or the texts with the states of a translation encoder."""

_LORA = frozenset({"lr", "epochs", "r", "alpha"})
_FUSED = _LORA | {"fusion", "alignment", "lead", "source_dropout", "source_norm", "train_source", "test_source"}


@dataclass(frozen=True)
class Kind:
    """What one kind of method is made of."""

    about: str
    """One line for listings."""
    options: frozenset[str] = frozenset()
    """Fields of `MethodSpec` that mean something for this kind."""
    of: frozenset[str] = frozenset()
    """Kinds whose trained adapters it reads; empty: `of` is refused."""
    trains: bool = False
    """Whether it trains an adapter of its own when it has no `of`."""
    reads_source: bool = False
    """Whether its test rows are read with a translation (unless `test_source` is none)."""
    reads: Reads = "target"
    """What a model is given at test time; nothing for averages of other methods."""
    averages: bool = False
    """Whether it averages log-probabilities of labels, which answers to questions have none of."""

    @property
    def needs_of(self) -> bool:
        """Whether the kind is nothing without another method."""
        return bool(self.of) and not self.trains


KINDS: dict[str, Kind] = {
    "zero-shot": Kind("the stage-1 model reads the target text"),
    "translate-test": Kind(
        "the stage-1 model reads the translation into the source language",
        frozenset({"test_source"}),
        reads_source=True,
        reads="source",
    ),
    "lora": Kind("LoRA on the translated training set (translate-train)", _LORA, trains=True),
    "flare": Kind(
        "LoRA whose bottleneck fuses the text with its translation", _FUSED, frozenset({"flare"}), True, True, "both"
    ),
    "flare-mt": Kind(
        "FLARE on the states of a translation model's encoder reading the target text; nothing is translated at test",
        _LORA | {"fusion", "alignment", "source_dropout"},
        trains=True,
        reads="latents",
    ),
    "flare-no-source": Kind("a trained FLARE adapter with no translation at test time", of=frozenset({"flare"})),
    "flare+source": Kind(
        "FLARE averaged with the base model's own prediction for the translation",
        frozenset({"test_source"}),
        frozenset({"flare"}),
        reads_source=True,
        averages=True,
    ),
    "ensemble": Kind(
        "a trained adapter averaged with translate-test: FLARE's equal-cost rival",
        frozenset({"test_source"}),
        frozenset({"lora", "flare"}),
        reads_source=True,
        averages=True,
    ),
}

QUESTION_SETS = ("tydiqa", "xquad", "lab-qa")
SETS = ("nusax", "xnli", "phrasebook", "lab-topic", "lab-nli", *QUESTION_SETS)
"""The named sets of `crossflare.tasks.sets`, and those of the laboratory."""

_RECIPE_ENGINES: dict[str, dict[str, Any]] = {
    "parallel": {},
    "dictionary": {"learn": Literal["train", "set"]},
    "trained": {"decode_with": Literal["transformers", "ctranslate2"], "beams": int},
    "lab": {"drop": float, "swap": float, "wrong_sense": float, "seed": int},
}
"""Engines and options that only a recipe has: its data set stands behind them."""
ENCODERS = ("transformers", "trained")
"""Engines with an encoder for `latents`, whose states are kept in the run's folder with `store: true`."""
_FILES = frozenset({"lexicon", "source_file", "target_file", "pairs_file", "folder"})
_GIVEN = frozenset({"source", "target"})
"""Options that the recipe itself fills in: the languages."""


def check_train_source(text: str) -> None:
    """Raise `UserError` unless a method may train with this source."""
    from crossflare.translation.sources import SourceText

    if text.startswith("mixed("):
        SourceText.parse(text)
        return
    choose("train_source (or mixed(p))", text, ("original", "machine", "shuffled", "none"))


def is_translated(source: str) -> bool:
    """Whether some rows get a translation for their source, so that there must be an engine."""
    return source in ("machine", "shuffled") or source.startswith("mixed(")


def flag_names() -> tuple[str, ...]:
    """Return what can be seen wrong in a translation."""
    from crossflare.translation.checks import Flag

    return tuple(flag.value for flag in Flag)


def engine_names() -> tuple[str, ...]:
    """Return the translation engines that a recipe may name."""
    from crossflare.translation.engines import ENGINES

    return tuple(dict.fromkeys([*_RECIPE_ENGINES, *ENGINES]))


def engine_options(engine: str) -> dict[str, Any]:
    """Return the type of each option that a recipe may give to an engine; none for an unknown engine."""
    from crossflare.translation.engines import ENGINES

    types: dict[str, Any] = dict(_RECIPE_ENGINES.get(engine, {}))
    if engine in ENCODERS:
        types["store"] = bool
    if engine in ENGINES:
        for name, parameter in ENGINES[engine].options.items():
            if name not in _GIVEN:
                marked = PathText if name in _FILES else ModelPath if name == "model" else parameter.annotation
                types[name] = marked
    return types
