"""The translations of a recipe: what is translated, by which engine, and where the laboratory's models are."""

from dataclasses import dataclass

from crossflare.errors import UserError
from crossflare.recipe.needs import Route, brings, needs, routes
from crossflare.recipe.spec import Spec
from crossflare.recipe.translation import EngineOptions
from crossflare.translation.engines.protocol import Translator


def check_taught(route: Route, options: EngineOptions) -> None:
    """Raise `UserError` for a dictionary that the recipe both gives and asks to learn."""
    taught = options.options.get("learn")
    given = sorted({"lexicon", "source_file", "target_file", "pairs_file"} & options.options.keys())
    if taught is not None and given:
        raise UserError(
            f"translation.{route}: learn: {taught} stands beside {', '.join(given)}; "
            "a dictionary is learnt or given: leave one out"
        )


def build_engine(options: EngineOptions, source: str, target: str) -> Translator:
    """Build an engine for translating from `source` to `target`; an engine that serves any pair is not told them."""
    from crossflare.translation.engines.registry import ENGINES, make_engine

    if options.engine == "lab":
        from crossflare_lab.translator import LabTranslator

        return LabTranslator(**options.options)
    sides = {"source": source, "target": target}
    asked = {side: tag for side, tag in sides.items() if side in ENGINES[options.engine].options}
    own = {name: value for name, value in options.options.items() if name != "store"}
    if "model" in own:
        own["model"] = model_place(own["model"])
    return make_engine({"engine": options.engine, **asked, **own})


def model_place(name: str) -> str:
    """Return where a model is: the folder of a laboratory's model, or the name as it is."""
    if not name.startswith("lab-"):
        return name
    from crossflare_lab.models import find_model

    return str(find_model(name))


def translated_parts(spec: Spec, language: str) -> list[str]:
    """Return the parts of a target language that exist and are translated back."""
    found = {need.part for need in needs(spec) if need.language == language}
    return sorted(found if _back(spec) else found & {"test", *_combined(spec)})


@dataclass(frozen=True, slots=True)
class Translating:
    """The rows of some parts, translated from one language into another."""

    route: Route
    engine: str
    source: str
    """BCP-47 tag of the language that is read."""
    target: str
    """BCP-47 tag of the language that is written; for `latents`, which keeps only states, of the language read."""
    parts: tuple[tuple[str, str], ...]
    """(language, part) of the rows whose texts are counted."""
    made: bool = False
    """The texts are translations themselves, so that their size is that of the texts they were made from."""


def jobs(spec: Spec) -> list[Translating]:
    """Return what is translated, each text once; the answers are left out, since no model has given them yet."""
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
    """Return the part on which combinations are fitted or calibrated, where they exist and it is translated."""
    engine = spec.translation.to_source
    able = engine is not None and engine.engine != "precomputed"
    fitted = [method.about.fitted or able for method in spec.methods if method.about.combines]
    return ("dev",) if any(fitted) and not brings(spec) else ()


def _back(spec: Spec) -> bool:
    """Whether a method learns from training rows whose texts are translated back."""
    made = ("machine", "shuffled", "mixed", "annealed")
    return any(method.training_source.startswith(made) for method in spec.methods)
