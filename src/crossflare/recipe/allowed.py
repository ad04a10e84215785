"""What data a kind of method needs, and which kinds the data of a recipe allow; no row is read for it.

Nothing is declared here: a kind is tried by putting it into the recipe, whose own checks and needs then say what lacks.
"""

import dataclasses
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from crossflare.recipe.kinds import KINDS, Kind
from crossflare.recipe.methods import MethodSpec
from crossflare.recipe.needs import needs
from crossflare.recipe.read import spec_from
from crossflare.recipe.spec import Spec
from crossflare.recipe.strict_yaml import GatheredError
from crossflare.recipe.translation import is_translated

Paired = Callable[[str, str], bool]
"""(language, part) -> whether its rows have the set's own text in the source language."""


def data_needed(kind: Kind) -> list[str]:
    """Return what a kind of method needs of the data and of translators, with its defaults, in a few words each."""
    found: list[str] = []
    if not kind.adapted or kind.combines:
        found.append("stage 1 (labelled source rows)")
    if kind.needs_of:
        found.append(f"a trained {' or '.join(sorted(kind.of)) if len(kind.of) < 3 else 'method of this recipe'}")
    if kind.trains:
        found.append("labelled source rows" if kind.reads == "source" else "training rows in the target")
    if kind.trains and kind.reads == "both" and not is_translated(kind.train_source):
        found.append("their source texts")
    if kind.reads_source or (kind.trains and kind.reads != "target" and is_translated(kind.train_source)):
        found.append("a translator into the source (to_source)")
    if kind.reads == "latents":
        found.append("an encoder (latents)")
    if kind.fitted:
        found.append("dev rows in the target")
    return found


def allowed(spec: Spec, parts: Mapping[str, Collection[str]], paired: Paired) -> dict[str, str]:
    """Return kind of method -> why the data of a recipe do not allow it; empty: they do.

    Args:
        spec: The recipe; only its methods are left out of account.
        parts: Language -> the parts that it has, dev also where it is cut from train.
        paired: See `Paired`.
    """
    return {kind: _reason(spec, kind, parts, paired) for kind in KINDS}


def _reason(spec: Spec, kind: str, parts: Mapping[str, Collection[str]], paired: Paired) -> str:
    about = KINDS[kind]
    base = next(name for name in KINDS if name in about.of and KINDS[name].trains) if about.needs_of else None
    if kind == "pivot":  # LoRA twice, first in a language that the data have to bring, too
        apart = [each for each in parts if "train" in parts[each] and each not in (spec.source, *spec.targets)]
        if not apart and not spec.translation.translates:
            return "needs train rows in a related language beside the targets, and there are none"
        return _reason(spec, "lora", parts, paired)
    methods = (MethodSpec(kind, kind, of=base), *([MethodSpec(base, base)] if base else []))
    tried = dataclasses.replace(spec, methods=methods).without_originals(lambda _: True)
    try:
        tried = spec_from(tried.to_yaml(), Path("/"))
    except GatheredError as error:
        return re.sub(r"^.*?: (methods\.[^ :]+: )?|[;,]( or)? take it out$", "", error.lines[0])  # it need not be there
    for need in needs(tried):
        if need.part not in parts.get(need.language, ()):
            return f"needs {need.part} rows in '{need.language}', and there are none"
        if need.why and not paired(need.language, need.part):
            return f"needs '{need.language}' {need.part} rows with the set's own text in '{spec.source}' beside them"
    if not spec.stage1.trains and spec.task.form == "head" and (not about.adapted or about.combines):
        return "stage 1 is left out: only with a model that has a trained head for the task"
    return ""
