"""Which rows of its set and which translators a recipe uses, read from the recipe alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from crossflare.recipe.methods import MethodSpec
from crossflare.recipe.translation import is_translated

if TYPE_CHECKING:
    from crossflare.recipe.spec import Spec

ORIGINALS = ("original", "mixed", "annealed")
"""The beginnings of training sources that hold the labelled source text itself."""
Route = Literal["to_target", "to_source", "latents", "answers"]


@dataclass(frozen=True)
class Need:
    """A part that is read in one language."""

    language: str
    part: str
    paired: bool = False
    """Its rows get the set's own text in the source language, where the set has it."""
    why: str = ""
    """What is impossible where the set has no such text; empty: nothing."""


def needs(spec: "Spec") -> list[Need]:
    """Return each part that is read, once for each way; the targets' training rows only where no engine makes them."""
    shown = [Need(spec.source, "train")] if any(method.shots for method in spec.methods) else []
    labelled = spec.has_stage1 or spec.translation.translates
    found = [Need(spec.source, part) for part in ("train", "dev") if labelled] + shown
    for method in spec.methods:
        for language in spec.languages(method):
            found += [_test(method, spec, language), *_training(method, spec, language)]
    for route, language in routes(spec):
        engine = getattr(spec.translation, route)
        if engine is not None and engine.options.get("learn") == "train" and (_own(spec) or route == "to_target"):
            found.append(Need(language, "train", True, f"translation.{route} cannot learn from them (learn: train)"))
    return list(dict.fromkeys(found))


def routes(spec: "Spec") -> list[tuple[Route, str]]:
    """Return (route, language) for each translator that is used."""
    found: list[tuple[Route, str]] = []
    for method in spec.methods:
        for language in spec.languages(method):
            about, source = method.about, str(method.test_source)
            trained = [each for each in _trained_in(method, spec, language) if each != spec.source]
            first = spec.trained(method).through
            test = about.reads_source and is_translated(source) and not brings(spec)
            if test:
                found.append(("to_source", language))
            if about.reads == "latents":
                found.extend(("latents", each) for each in (language, *trained))
            if is_translated(spec.trained(method).training_source):
                found.extend(("to_source", each) for each in trained)
            if spec.translation.translates:
                found.extend(("to_target", each) for each in ((first,) if first else ()) + (*trained,))
            if spec.task.asks and about.reads == "source" and source != "none":
                found.append(("answers", language))
    return list(dict.fromkeys(found))


def brings(spec: "Spec") -> bool:
    """Whether the set itself has the translations of test rows, so that no engine has to make them."""
    engine = spec.translation.to_source
    return engine is not None and engine.engine in ("precomputed", "parallel") and not engine.options


def _own(spec: "Spec") -> bool:
    """Whether the training rows in the targets are the set's own."""
    return not spec.translation.translates


def _test(method: MethodSpec, spec: "Spec", language: str) -> Need:
    engine, source = spec.translation.to_source, str(method.test_source) if method.about.reads_source else "none"
    parallel = is_translated(source) and engine is not None and engine.engine == "parallel" and brings(spec)
    if source == "oracle" or parallel:
        return Need(language, "test", True, "an oracle source needs them")
    return Need(language, "test")


def _training(method: MethodSpec, spec: "Spec", language: str) -> Iterator[Need]:
    """Yield the train and dev rows that a method's adapter learns from, and the dev rows that it is fitted on."""
    trained, native = spec.trained(method), spec.translation.has_native
    if trained.through is not None and (native or _own(spec)):  # for LoRA, whatever the method does in the target
        parts = ("train", "dev") if _own(spec) else ("train",)
        yield from (Need(trained.through, part, not native) for part in parts)
    learnt = _trained_in(method, spec, language)
    if spec.source in learnt:  # a probe of the labelled rows as they are
        yield from (Need(spec.source, part) for part in ("train", "dev"))
    learnt = [each for each in learnt if each != spec.source]
    if native and not _own(spec):  # the dev rows are the source's, translated, where a language has none
        yield from (Need(each, "train") for each in learnt)
    if not _own(spec):
        return
    original = trained.about.reads == "both" and str(trained.train_source).startswith(ORIGINALS)
    out = "say train_source: machine to learn from translations of the targets' rows"
    why = f"{trained.name} learns from them (train_source: {trained.train_source}); {out}" if original else ""
    for each in learnt:
        yield from (Need(each, part, not native, why) for part in ("train", "dev"))
    if method.about.fitted:
        yield Need(language, "dev", not native)


def _trained_in(method: MethodSpec, spec: "Spec", language: str) -> tuple[str, ...]:
    """Return the languages in which the adapter that a method reads with is trained; none for stage 1."""
    trained = spec.trained(method)
    if not trained.about.trains:
        return ()
    if trained.joint:
        return spec.languages(trained)
    return (method.trained_in or trained.trained_in or language,)
