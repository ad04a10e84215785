"""What a recipe has translated: which rows, by which engine, and how much text that is."""

from dataclasses import dataclass

from crossflare.recipe.needs import Route, brings, needs, routes
from crossflare.recipe.spec import Spec


def translated_parts(spec: Spec, language: str) -> list[str]:
    """Return the parts in a target language that are there, and that are translated back."""
    found = {need.part for need in needs(spec) if need.language == language}
    return sorted(found if _back(spec) else found & {"test", *_combined(spec)})


@dataclass(frozen=True, slots=True)
class Translating:
    """The rows of some parts, translated from one language into another."""

    route: Route
    engine: str
    source: str
    """BCP-47 tag of what is read."""
    target: str
    """BCP-47 tag of what is written; of `latents`, whose states alone are kept, the language that is read."""
    parts: tuple[tuple[str, str], ...]
    """(language, part) of the rows whose texts are counted."""
    made: bool = False
    """The texts are translations themselves, so that their size is that of what they were made of."""


def jobs(spec: Spec) -> list[Translating]:
    """Return what is translated, each text once; nothing of the answers, which nobody has given yet."""
    own = [(spec.source, part) for part in ("train", "dev")]
    found: list[Translating] = []
    for route, language in routes(spec):
        options = getattr(spec.translation, route)
        if route == "answers" or options is None or options.engine == "parallel":
            continue
        if route == "to_target":
            found.append(Translating(route, options.engine, spec.source, language, tuple(own)))
            continue
        there = tuple((language, part) for part in translated_parts(spec, language))
        into = spec.source if route == "to_source" else language
        found.append(Translating(route, options.engine, language, into, there))
        whole = own if route == "latents" or _back(spec) else [each for each in own if each[1] in _combined(spec)]
        if spec.translation.translates:
            found.append(Translating(route, options.engine, language, into, tuple(whole), made=True))
    return [job for job in found if job.parts]


def _combined(spec: Spec) -> tuple[str, ...]:
    """Return the part on which combinations are fitted or calibrated, where a method is one and they are translated."""
    engine = spec.translation.to_source
    able = engine is not None and engine.engine != "precomputed"
    fitted = [method.about.fitted or able for method in spec.methods if method.about.combines]
    return ("dev",) if any(fitted) and not brings(spec) else ()


def _back(spec: Spec) -> bool:
    """Whether a method learns from training rows whose texts are translated back."""
    made = ("machine", "shuffled", "mixed", "annealed")
    return any(method.training_source.startswith(made) for method in spec.methods)
