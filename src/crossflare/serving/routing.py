"""The adapter that each text belongs to: the one that the caller names, or that of the language it looks like."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, cast

from crossflare.errors import UserError, choose, listed
from crossflare.languages import tag_of
from crossflare.languages.identify import chooser
from crossflare.serving.rows import check_signs, items_of


def check_names(names: Iterable[object]) -> None:
    """Raise `UserError` for a name that is no text, or for two that are one language."""
    seen: dict[str, str] = {}
    for name in names:
        if not isinstance(name, str) or not name.strip():
            raise UserError(f"open_adapters: expected a language or another name for each adapter, got {name!r:.100}")
        if (other := seen.setdefault(tag_of(name), name)) != name:
            raise UserError(f"open_adapters: '{other}' and '{name}' are one language; give one of them another name")


def name_among(known: Collection[str], name: object) -> str:
    """Return the name of an adapter that a caller names, in any spelling of a language.

    Raises:
        UserError: There is no such adapter.
    """
    if isinstance(name, str) and name in known:
        return name
    tags = {tag_of(each): each for each in known}
    tag = tag_of(name) if isinstance(name, str) else None
    return tags[tag] if tag in tags else choose("language", f"{name!s:.100}", known)


def by_name(known: Collection[str], values: object, argument: str) -> dict[str, Any]:
    """Return a caller's mapping with the names of the adapters as keys; None is an empty one."""
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        kind = type(values).__name__
        raise UserError(f"{argument}: expected {{name: value}} with the names {listed(known)}, got {kind}")
    return {name_among(known, name): value for name, value in cast(Mapping[object, Any], values).items()}


def names_of(known: Collection[str], texts: Sequence[object], languages: str | Iterable[str] | None) -> list[str]:
    """Return the name of each text's adapter; see `TrainedAdapters.predict`.

    Raises:
        UserError: A name is not that of an adapter, names and texts differ in number, or languages cannot be detected.
    """
    if isinstance(languages, str):
        return [name_among(known, languages)] * len(texts)
    if languages is not None:
        named = items_of(languages, "languages", "language")
        if len(named) != len(texts):
            raise UserError(f"{len(texts)} texts but {len(named)} languages; give one for each text, or one for all")
        return [name_among(known, name) for name in named]
    if len(known) == 1:
        return [*known] * len(texts)
    tags = {tag_of(name): name for name in known}
    look = chooser(tags)
    return [tags[look(_whole(text, f"texts[{number}]"))] for number, text in enumerate(texts)]


def _whole(text: object, where: str) -> str:
    """Return a text, or the texts of a pair, as one text whose language can be detected."""
    parts = cast(Sequence[object], text) if isinstance(text, tuple | list) else (text,)
    texts = [part for part in parts if isinstance(part, str)]
    if len(texts) < len(parts) or not texts:
        raise UserError(f"{where}: expected a text, or two, got {type(text).__name__}; name the language of each text")
    check_signs(texts, where)
    return "\n".join(texts)
