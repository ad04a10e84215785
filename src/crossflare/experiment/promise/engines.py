"""Checks whether a recipe's translators can do what its methods need, before anything is made."""

from pathlib import Path
from typing import Any

from crossflare.errors import UserError
from crossflare.experiment.data.rows import Data
from crossflare.recipe.engines import check_taught, model_place, translated_parts
from crossflare.recipe.needs import Route, routes
from crossflare.translation.engines.families import check_named
from crossflare.translation.engines.precomputed import Precomputed
from crossflare.translation.engines.protocol import stand_ins

NEURAL = ("transformers", "ctranslate2")


def check_engines(data: Data, *, fetch: bool) -> list[str]:
    """Return the errors of the translators that the recipe uses.

    Args:
        data: The recipe's rows and translators.
        fetch: Whether the configuration and tokenizer of a model on the hub may be fetched; otherwise a model that is
            not on this machine is checked by its name alone.
    """
    wrong: list[str] = []
    for route, language in routes(data.spec):
        try:
            _check(data, route, language, fetch)
        except UserError as error:
            wrong.append(str(error))
    return wrong


def _check(data: Data, route: Route, language: str, fetch: bool) -> None:
    options = getattr(data.spec.translation, route)
    source = data.spec.source
    pair = (source, language) if route in ("to_target", "answers") else (language, source)
    if options is not None and options.engine in NEURAL:
        others, model = stand_ins(options.options.get("mt_language")), str(options.options.get("model", ""))
        local = Path(model_place(model)).is_dir()
        if not local:
            check_named(model, others, *(pair[:1] if route == "latents" else pair))
            if not fetch and not _here(model, options.options.get("revision")):
                return
    if options is not None and options.options.get("learn") == "train":
        check_taught(route, options)
        return  # it learns from rows, which have their own check
    engine: Any = data.translations.engines.get(route, language)
    inner = getattr(engine, "engine", engine)
    if hasattr(inner, "check"):
        inner.check(pair[0], None if route == "latents" else pair[1])
    if isinstance(inner, Precomputed) and route in ("to_target", "to_source"):
        texts = _known_texts(data, route, language)
        inner.translate(texts, source=pair[0], target=pair[1])


def _known_texts(data: Data, route: Route, language: str) -> list[str]:
    """Return the texts of the set that a translator will translate."""
    read = data.spec.source if route == "to_target" else language
    parts = ("train", "dev") if route == "to_target" else translated_parts(data.spec, language)
    return [text for part in parts for example in data.rows(read, part) for text in example.texts]


def _here(model: str, revision: str | None) -> bool:
    """Return whether a model on the hub is in this machine's cache."""
    from huggingface_hub import try_to_load_from_cache

    try:
        return isinstance(try_to_load_from_cache(model, "config.json", revision=revision), str)
    except ValueError:  # not a valid name on the hub
        return True
