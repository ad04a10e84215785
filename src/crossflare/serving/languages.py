"""The language of the texts that an adapter reads: its own; if it has several, the one that a caller names."""

from crossflare.errors import UserError, choose
from crossflare.languages import tag_of
from crossflare.serving.card import Saved


def language_of(saved: Saved, named: str | None) -> str | None:
    """Return the tag of the language that a caller names for the texts of an adapter; None if no language is named.

    Raises:
        UserError: The adapter was trained in several languages, and this is none of them.
    """
    if named is None:
        return None
    tag, own = tag_of(named), str(saved.card.get("language")).split("+")
    if len(own) > 1:
        choose("language of the adapter", tag, own)
    return tag


def languages_of(saved: Saved, named: str | None = None) -> tuple[str, str]:
    """Return the language of an adapter's texts, which a caller may have named, and that of their sources.

    Raises:
        UserError: No language was named, and the adapter was trained in several languages at once.
    """
    language = named or str(saved.card.get("language"))
    if "+" in language:
        raise UserError(
            f"{saved.folder}: it reads several languages ({language}), so which one to translate is not known; "
            "name the language, or translate the texts first and give the translations"
        )
    return tag_of(language), tag_of(str(saved.card.get("source")))
