"""What a recipe can name beside methods: data sets, sources of text, flags, translation engines and their options."""

import re
from typing import Any, Literal

from crossflare.errors import UserError, choose
from crossflare.experiment.marks import ModelPath, PathText

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


_ANNEALED = re.compile(r"annealed\((\d+(?:\.\d+)?)\)")


def check_train_source(text: str) -> None:
    """Raise `UserError` unless a method may train with this source."""
    from crossflare.translation.sources import SourceText

    if text.startswith("mixed("):
        SourceText.parse(text)
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
    """Whether some rows get a translation for their source, so that there must be an engine."""
    return source in ("machine", "shuffled") or source.startswith(("mixed(", "annealed("))


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
