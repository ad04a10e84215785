"""What a recipe says of translation: engines by route, and the translator that it trains itself."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from crossflare.experiment.marks import Bounds, Names, PathText
from crossflare.experiment.named import engine_names, engine_options, flag_names

Count = Annotated[int, Bounds(1)]
Share = Annotated[float, Bounds(0, 1, open_high=True)]
Rate = Annotated[float, Bounds(0, 1, open_low=True)]


@dataclass(frozen=True)
class Limit:
    """The first N rows of a part, for quick trials; None: all rows."""

    train: Count | None = None
    dev: Count | None = None
    test: Count | None = None


@dataclass(frozen=True)
class EngineOptions:
    """A translation engine and its options (`crossflare.translation` says which it takes)."""

    engine: Annotated[str, Names("engine", engine_names)]
    options: dict[str, Any] = field(default_factory=dict[str, Any])

    @staticmethod
    def more(content: dict[str, Any]) -> dict[str, Any]:
        """Return the types of the options that the engine named in a mapping takes."""
        return engine_options(str(content.get("engine")))


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
    """Text by which the step is chosen; None: the last step."""
    dev_target_file: PathText | None = None
    test_source_file: PathText | None = None
    """Text on which BLEU and chrF are measured, both ways; None: they are not."""
    test_target_file: PathText | None = None
    limit: Limit = field(default_factory=Limit)
    """The first N lines of a part."""
    licence: str = "unknown; that of the parallel text"
    width: Annotated[int, Bounds(64)] = 256
    layers: Count = 3
    vocabulary: Annotated[int, Bounds(64)] = 4000
    dropout: Share = 0.3
    epochs: Count = 20
    batch_size: Count = 64
    lr: Rate = 1e-3
    warmup: Share = 0.1
    max_tokens: Annotated[int, Bounds(8)] = 128
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    seed: Annotated[int, Bounds(0, 2**32 - 1)] = 0


@dataclass(frozen=True)
class TranslationSpec:
    """Who translates: the training rows into the targets, and the rows to be read back into the source language."""

    to_target: EngineOptions = field(default_factory=lambda: EngineOptions("parallel"))
    """How training and dev rows got their target text; `parallel`: the set's own aligned rows."""
    to_source: EngineOptions | None = None
    """How test rows (and, with `train_source: machine`, training rows) get their source text."""
    latents: EngineOptions | None = None
    """The `transformers` engine whose encoder reads the target text for `flare-mt`."""
    answers: EngineOptions | None = None
    """Who translates the answers of `translate-test` back, since they are read off a text in the source language."""
    translator: TranslatorSpec | None = None
    """What the engine `trained` is trained on, and how."""
    drop: tuple[Annotated[str, Names("flag", flag_names)], ...] = ()
    """Training rows whose translation has one of these flags (`crossflare.translation.checks`) are left out."""
