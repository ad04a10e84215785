"""What a caller names, as a service: adapters with their languages, and the engines of these."""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from crossflare.disk.files import canonical
from crossflare.errors import UserError, choose
from crossflare.languages import tag_of
from crossflare.languages.identify import identifier
from crossflare.recipe.engines import build_engine
from crossflare.recipe.translation import EngineOptions, engine_from_flags
from crossflare.service.limits import Limits
from crossflare.service.service import Service
from crossflare.service.translations import Translations
from crossflare.service.worker import EngineProcess
from crossflare.serving.card import Saved, open_saved
from crossflare.serving.languages import language_of, languages_of
from crossflare.serving.several import open_adapters
from crossflare.translation.engines.protocol import Translator

_NEXT = re.compile(r",(?=\w+=)")
"""What parts the options of an engine; a comma inside a value stays."""


def adapters_named(given: Sequence[str]) -> dict[str, str]:
    """Return name -> folder for `NAME=FOLDER`; a folder alone is named by the language on its card.

    Raises:
        UserError: A name is given twice, or a card that is read has no language.
    """
    found: dict[str, str] = {}
    for each in given:
        name, equals, place = each.partition("=")
        if not equals:
            place = each
            name = str(open_saved(each).card.get("language") or "")
        elif not Path(each).is_dir():
            name = tag_of(name.strip())
        if not name or not place:
            raise UserError(f"--adapter {each}: expected LANGUAGE=FOLDER, as in sw=runs/reviews/models/ID")
        if name in found:
            raise UserError(f"--adapter {each}: there is one for '{name}' already; give each a name of its own")
        found[name] = place
    return found


def engines_named(given: Sequence[str], names: Sequence[str]) -> dict[str, EngineOptions]:
    """Return name of an adapter -> engine for `NAME=ENGINE:KEY=VALUE,KEY=VALUE`; without NAME, it is for all others.

    Raises:
        UserError: There is no such adapter, engine or option, or an adapter has two engines.
    """
    found: dict[str, EngineOptions] = {}
    for each in sorted(given, key=lambda text: "=" not in text.partition(":")[0]):  # those with a name first
        head, _, options = each.partition(":")
        name, equals, engine = head.rpartition("=")
        chosen = engine_from_flags(engine, _NEXT.split(options) if options else [])
        if not equals:
            found = dict.fromkeys(names, chosen) | found
            continue
        name = name if name in names else tag_of(name)
        choose("adapter in --translate", name, names)
        if name in found:
            raise UserError(f"--translate {each}: '{name}' has an engine already; leave one out")
        found[name] = chosen
    return found


def open_service(
    adapters: Mapping[str, str | Path],
    engines: Mapping[str, EngineOptions] | None = None,
    *,
    base: str | None = None,
    limits: Limits | None = None,
) -> Service:
    """Open adapters, and start the engines that translate for them; close the service to end these.

    Args:
        adapters: See `open_adapters`.
        engines: Name of an adapter -> the engine for texts without a source, in a process of its own.
        base: See `open_adapters`.
        limits: None: those of `Limits`.

    Raises:
        UserError: An adapter cannot be opened, or does not read sources, or an engine does not start.
    """
    limits = limits or Limits()
    saved = {name: open_saved(place) for name, place in adapters.items()}
    routes = {name: _route(saved[name], name) for name in engines or {}}
    made: dict[str, Translations] = {}
    shared: dict[str, Translations] = {}
    encoders: dict[str, Translator] = {}
    try:
        for name, options in (engines or {}).items():
            make = partial(build_engine, options, *routes[name])
            if saved[name].kind.reads == "latents":
                encoders[name] = make()
                continue
            key = canonical([options.engine, options.options, routes[name]])
            if key not in shared:
                shared[key] = Translations(options.engine, EngineProcess(make, *routes[name]), limits)
                shared[key].start()
            made[name] = shared[key]
        if len(saved) > 1:
            identifier()  # it takes a second or two to load
        opened = open_adapters({name: each.folder for name, each in saved.items()}, base=base)
    except BaseException:
        for engine in shared.values():
            engine.close()
        raise
    return Service(opened, made, encoders, limits)


def _route(saved: Saved, name: str) -> tuple[str, str]:
    """Return the languages that the engine of an adapter translates between."""
    if saved.kind.reads not in ("both", "latents"):
        raise UserError(f"--translate {name}: {saved.name} reads no source; leave the engine out")
    several: Any = "+" in str(saved.card.get("language"))
    return languages_of(saved, language_of(saved, name) if several else None)
