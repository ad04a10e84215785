"""The translation engine that a recipe or a command names, built; and where the models of the laboratory are."""

from crossflare.errors import UserError
from crossflare.recipe.needs import Route
from crossflare.recipe.translation import EngineOptions
from crossflare.translation.engines.protocol import Translator


def check_taught(route: Route, options: EngineOptions) -> None:
    """Raise `UserError` for a dictionary that is both learnt and given."""
    taught = options.options.get("learn")
    given = sorted({"lexicon", "source_file", "target_file", "pairs_file"} & options.options.keys())
    if taught is not None and given:
        raise UserError(
            f"translation.{route}: learn: {taught} stands beside {', '.join(given)}; "
            "a dictionary is learnt or given: leave one out"
        )


def build_engine(options: EngineOptions, source: str, target: str) -> Translator:
    """Build an engine for translating from `source` to `target`; those that serve any pair are not told."""
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
    """Return where a model is: a laboratory's own folder, or the name as it is."""
    if not name.startswith("lab-"):
        return name
    from crossflare_lab.models import find_model

    return str(find_model(name))
