"""What data a kind of method needs, and which kinds the data of a recipe allow; no row is read for it.

Nothing is declared here: a kind is tried by putting it into the recipe. The recipe's own checks and needs then say what
is missing.
"""

import dataclasses
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from crossflare.recipe.kinds import KINDS, Kind
from crossflare.recipe.methods import MethodSpec
from crossflare.recipe.needs import ORIGINALS, Need, needs
from crossflare.recipe.read import spec_from
from crossflare.recipe.spec import Spec
from crossflare.recipe.strict_yaml import GatheredError
from crossflare.recipe.translation import is_translated

STAGE1 = "stage 1 (labelled source rows)"
SOURCE_ROWS = "labelled source rows"
TARGET_ROWS = "training rows in the target"
RELATED_ROWS = "training rows in a related language"
SOURCE_TEXTS = "their source texts"
TRANSLATOR = "a translator into the source (to_source)"
ENCODER = "an encoder (latents)"
FROM_OUTSIDE = {"file": "a file of answers", "prompt": "a language model, here or at an endpoint"}
DEV_ROWS = "dev rows in the target"
Paired = Callable[[str, str], bool]
"""(language, part) -> whether its rows have the set's own text in the source language."""


def data_needed(kind: Kind) -> list[str]:
    """Return what a kind of method needs of the data and of translators, with its defaults, in a few words each."""
    found: list[str] = []
    if kind.reads_with_stage1:
        found.append(STAGE1)
    if kind.outside:
        found.append(FROM_OUTSIDE[kind.outside])
    if kind.needs_of:
        found.append(f"a trained {' or '.join(sorted(kind.of)) if len(kind.of) < 3 else 'method of this recipe'}")
    if kind.trains:
        found.append(SOURCE_ROWS if kind.reads == "source" else TARGET_ROWS)
    if kind.trains and "through" in kind.options and not kind.fuses:
        found.append(RELATED_ROWS)
    if kind.trains and kind.reads == "both" and kind.train_source.startswith(ORIGINALS):
        found.append(SOURCE_TEXTS)
    if (kind.reads_source and kind.test_source != "none") or (
        kind.trains and kind.reads != "target" and is_translated(kind.train_source)
    ):
        found.append(TRANSLATOR)
    if kind.reads == "latents":
        found.append(ENCODER)
    if kind.fitted:
        found.append(DEV_ROWS)
    return found


def allowed(spec: Spec, parts: Mapping[str, Collection[str]], paired: Paired) -> dict[str, str]:
    """Return kind of method -> why the data of a recipe do not allow it; empty: they do.

    Args:
        spec: The recipe; its methods are ignored.
        parts: Language -> the parts that it has; dev counts, too, where it is cut from train.
        paired: See `Paired`.
    """
    return {kind: _reason(spec, kind, parts, paired) for kind in KINDS}


def _reason(spec: Spec, kind: str, parts: Mapping[str, Collection[str]], paired: Paired) -> str:
    about = KINDS[kind]
    base = next(name for name in KINDS if name in about.of and KINDS[name].trains) if about.needs_of else None
    if kind == "pivot":  # LoRA twice, first in a language of which the data must have rows, too
        apart = [each for each in parts if "train" in parts[each] and each not in (spec.source, *spec.targets)]
        if not apart and not spec.translation.translates:
            return f"needs {RELATED_ROWS}: no train rows beside those of the targets"
        return _reason(spec, "lora", parts, paired)
    file = "answers-{language}.csv" if about.outside == "file" else None
    methods = (MethodSpec(kind, kind, of=base, file=file), *([MethodSpec(base, base)] if base else []))
    tried = dataclasses.replace(spec, methods=methods).without_originals(lambda _: True)
    try:
        tried = spec_from(tried.to_yaml(), Path("/"))
    except GatheredError as error:
        said = re.sub(r"^.*?: (methods\.[^ :]+: )?|[;,]( or)? take it out$", "", error.lines[0])  # both are optional
        lacking = TRANSLATOR if "to_source" in said else ENCODER if "latents" in said else ""
        if absent := re.match(r"task\.files\.([^.]+)\.(train|dev|test): missing", said):
            lacking = _rows_of(Need(absent[1], absent[2]), spec, about)
        return f"needs {lacking}: {said}" if lacking else said
    for need in needs(tried):
        if need.part not in parts.get(need.language, ()):
            return f"needs {_rows_of(need, spec, about)}: no {need.part} rows in '{need.language}'"
        if need.why and not paired(need.language, need.part):
            lacking = TRANSLATOR if need.part == "test" or need.why.startswith("translation.") else SOURCE_TEXTS
            beside = f"'{need.language}' {need.part} rows with the set's own text in '{spec.source}' beside them"
            return f"needs {lacking}: {beside}"
    if not spec.stage1.trains and spec.task.form == "head" and about.reads_with_stage1:
        return f"needs {STAGE1}: it is left out, and only a model with a trained head for the task does without"
    return ""


def _rows_of(need: Need, spec: Spec, about: Kind) -> str:
    """Return what `data_needed` calls the rows of a part."""
    if need.part == "test":
        return "test rows"
    if need.language == spec.source:
        return SOURCE_ROWS if about.reads == "source" and about.trains else STAGE1
    return TARGET_ROWS if about.trains or not about.fitted else DEV_ROWS
