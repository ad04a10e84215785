"""What a recipe says about translation: sources of text, engines and their options, and the translator it trains."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from crossflare.errors import UserError, choose
from crossflare.recipe import strict_yaml
from crossflare.recipe.fields import Reader
from crossflare.recipe.marks import Bounds, ModelPath, Names, PathText

_RECIPE_ENGINES: dict[str, dict[str, Any]] = {
    "parallel": {},
    "none": {},
    "dictionary": {"learn": Literal["train", "set"]},
    "trained": {"decode_with": Literal["transformers", "ctranslate2"], "beams": int},
    "lab": {"drop": float, "swap": float, "wrong_sense": float, "seed": int},
}
"""Engines and options that only a recipe has, since they use its data set."""
ENCODERS = ("transformers", "trained")
"""Engines with an encoder for `latents`; its states are kept in the run's folder with `store: true`."""
_FILES = ("file", "folder", "lexicon")
"""Endings of the names of options that are a file or folder."""
_GIVEN = frozenset({"source", "target"})
"""Options that the recipe itself fills in: the languages."""


_ANNEALED = re.compile(r"annealed\((\d+(?:\.\d+)?)\)")


def check_train_source(text: str) -> None:
    """Raise `UserError` unless a method may train with this source."""
    if text.startswith("mixed("):
        mixed_share(text)
    elif text.startswith("annealed("):
        annealing(text)
    else:
        known = ("original", "machine", "mixed(p)", "annealed(k)", "shuffled", "target", "none")
        choose("train_source", text, known)
        if "(" in text:
            raise UserError(f"train_source: expected a number in {text}, as in mixed(0.5) or annealed(1000)")


def annealing(source: str) -> float | None:
    """Return k of `annealed(k)`, in optimizer steps; None for other sources.

    Raises:
        UserError: k is no number above 0.
    """
    if not source.startswith("annealed("):
        return None
    found = _ANNEALED.fullmatch(source)
    if found is None or float(found[1]) <= 0:
        raise UserError(f"train_source: expected annealed(k) with k steps above 0, got {source!r}")
    return float(found[1])


def is_translated(source: str) -> bool:
    """Whether some rows get a translation as their source, so that an engine is needed."""
    return source in ("machine", "shuffled") or source.startswith(("mixed(", "annealed("))


def flag_names() -> tuple[str, ...]:
    """Return the faults that crossflare can see in a translation."""
    from crossflare.translation.quality import Flag

    return tuple(flag.value for flag in Flag)


def engine_names() -> tuple[str, ...]:
    """Return the translation engines that a recipe may name."""
    from crossflare.translation.engines.registry import ENGINES

    return tuple(dict.fromkeys([*_RECIPE_ENGINES, *ENGINES]))


def engine_options(engine: str) -> dict[str, Any]:
    """Return the type of each option that a recipe may give to an engine; none for an unknown engine."""
    from crossflare.translation.engines.registry import ENGINES

    types: dict[str, Any] = dict(_RECIPE_ENGINES.get(engine, {}))
    if engine in ENCODERS:
        types["store"] = bool
    if engine in ENGINES:
        for name, parameter in ENGINES[engine].options.items():
            if name not in _GIVEN:
                marked = PathText if name.endswith(_FILES) else ModelPath if name == "model" else parameter.annotation
                types[name] = marked
    return types


Count = Annotated[int, Bounds(1)]
Share = Annotated[float, Bounds(0, 1, open_high=True)]
Rate = Annotated[float, Bounds(0, 1, open_low=True)]


@dataclass(frozen=True)
class Limit:
    """The first N rows of a part (with `draw`, N drawn rows), for quick trials; None: all rows."""

    train: Count | None = None
    """Most rows or lines of train; None: all."""
    dev: Count | None = None
    """Most rows or lines of dev; None: all."""
    test: Count | None = None
    """Most rows or lines of test; None: all."""


@dataclass(frozen=True)
class EngineOptions:
    """A translation engine and its options (`crossflare.translation` says which it takes)."""

    engine: Annotated[str, Names("engine", engine_names)]
    options: dict[str, Any] = field(default_factory=dict[str, Any])

    @staticmethod
    def more(content: dict[str, Any]) -> dict[str, Any]:
        """Return the types of the options that the engine named in a mapping takes."""
        return engine_options(str(content.get("engine")))

    @staticmethod
    def spelled() -> dict[str, dict[str, Any]]:
        """Return the texts that may stand in place of a mapping, each with its mapping: an engine's name alone."""
        return {name: {"engine": name} for name in engine_names()}


@dataclass(frozen=True)
class TranslatorSpec:
    """A small translator that the recipe trains from parallel text, both ways, one for each target.

    `{language}` in a path is the target's tag; `crossflare.training.translator.Sizes` says what the numbers mean.
    """

    source_file: PathText
    """Training text in the source language, one sentence per line."""
    target_file: PathText
    """Its translation, line by line."""
    dev_source_file: PathText | None = None
    """Dev text in the source language, by which the best step is chosen; None: the last step is kept."""
    dev_target_file: PathText | None = None
    """Its translation, line by line."""
    test_source_file: PathText | None = None
    """Test text in the source language, on which BLEU and chrF are measured, both ways; None: they are not measured."""
    test_target_file: PathText | None = None
    """Its translation, line by line."""
    limit: Limit = field(default_factory=Limit)
    """The first N lines of a part."""
    licence: str = "unknown; that of the parallel text"
    """The licence of the parallel text, and so of the translator."""
    width: Annotated[int, Bounds(64)] = 256
    """Width of the model, a multiple of 64; feed-forward layers are four times as wide."""
    layers: Count = 3
    """Layers of the encoder; the decoder has as many."""
    vocabulary: Annotated[int, Bounds(64)] = 4000
    """Sub-word pieces, for both languages together."""
    dropout: Share = 0.3
    """Dropout; few pairs need much of it."""
    epochs: Count = 20
    """Passes over the pairs, each pair in both directions."""
    batch_size: Count = 64
    """Rows per batch."""
    lr: Rate = 1e-3
    """Peak learning rate."""
    warmup: Share = 0.1
    """Part of the steps in which the rate rises."""
    max_tokens: Annotated[int, Bounds(8)] = 128
    """Most tokens of a text; training leaves longer pairs out, and longer texts are translated in parts."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """`auto`: bf16 where the device has instructions for it, else fp32."""
    seed: Annotated[int, Bounds(0, 2**32 - 1)] = 0
    """Seed of the training."""


@dataclass(frozen=True)
class TranslationSpec:
    """What translates the training rows into the targets, and the test rows back into the source language."""

    to_target: EngineOptions = field(default_factory=lambda: EngineOptions("parallel"))
    """How training and dev rows get their target text. `parallel`: the set's own aligned rows. `none`: there is no
    translation, and the adapters learn from rows in the target language that have labels of their own."""
    native: Annotated[int, Bounds(0, 1000)] = 0
    """With an engine in `to_target`: how often each row of the target's own train file comes in an epoch, in addition
    to the translated rows; 0: there is no such file, or it is not trained on. The target's own dev file, if there is
    one, is then the dev part."""
    to_source: EngineOptions | None = None
    """How test rows (and, with `train_source: machine`, training rows) get their source text."""
    latents: EngineOptions | None = None
    """The engine whose encoder reads the target text for `flare-mt`: `transformers` or `trained`."""
    answers: EngineOptions | None = None
    """What translates the answers of `translate-test` back, since they are found in a text in the source language."""
    translator: TranslatorSpec | None = None
    """What the engine `trained` is trained on, and how."""
    drop: tuple[Annotated[str, Names("flag", flag_names)], ...] = ()
    """Training rows whose translation has one of these flags (`crossflare.translation.quality`) are left out."""

    @property
    def translates(self) -> bool:
        """Whether an engine makes training rows for the targets."""
        return self.to_target.engine not in ("parallel", "none")

    @property
    def has_native(self) -> bool:
        """Whether adapters learn from rows of the targets that have labels of their own and no counterpart."""
        return self.to_target.engine == "none" or (self.native > 0 and self.translates)


def engine_from_flags(engine: str, options: Sequence[str]) -> EngineOptions:
    """Read an engine and its `key=value` options as a recipe would; a path may start at the current folder.

    Raises:
        UserError: An unknown engine or option, or a value of the wrong type; all at once.
    """
    document = strict_yaml.Document({"engine": engine}, "--translate")
    strict_yaml.override(document, options, flag="--option")
    return _engine_in(document)


def engine_from_values(engine: str, options: Mapping[str, Any]) -> EngineOptions:
    """Read an engine and its options as a recipe would; a path may start at the current folder.

    Raises:
        UserError: An unknown engine or option, or a value of the wrong type; all at once.
    """
    return _engine_in(strict_yaml.document_of({"engine": engine, **options}, "translate"))


def _engine_in(document: strict_yaml.Document) -> EngineOptions:
    read = Reader(document, Path.cwd()).dataclass(EngineOptions, document.value, ())
    if document.problems or read is None:
        raise strict_yaml.GatheredError(document.report())
    return read


_MIXED = re.compile(r"mixed\((\d*\.?\d+)\)")


def mixed_share(text: str) -> float:
    """Return the p of `mixed(p)`, the share of rows that get the round trip.

    >>> mixed_share("mixed(0.3)")
    0.3

    Raises:
        UserError: Anything else, or a share above 1.
    """
    match = _MIXED.fullmatch(text)
    if match is None or (share := float(match[1])) > 1:
        raise UserError(f"train_source: expected mixed(p) with p from 0 to 1, got {text!r}")
    return share


def gets_round_trip(row: str, seed: int, share: float) -> bool:
    """Whether the row with this id gets the round trip; with one seed, a larger share keeps the rows of a smaller."""
    digest = hashlib.sha256(f"{seed}\0{row}".encode("utf-8", "surrogatepass")).digest()
    return (int.from_bytes(digest[:7]) >> 3) / 2**53 < share  # 53 bits: exact in a float, and never rounded up to 1
