"""What an engine calls a language: its own code, or that of a stand-in which the user has named."""

from collections.abc import Callable, Mapping

from crossflare.errors import UserError
from crossflare.languages import Language, find
from crossflare.translation.notices import once


def stand_ins(mt_language: Mapping[str, str] | None) -> dict[str, str]:
    """Return the option `mt_language` with both sides as BCP-47 tags: language of the texts -> language it is read as.

    Raises:
        UserError: An unknown language.
    """
    return {find(tag).tag: find(other).tag for tag, other in (mt_language or {}).items()}


def engine_code(tag: str, engine: str, code: Callable[[Language], str | None], others: Mapping[str, str]) -> str:
    """Return the code of the language `tag`, or of its stand-in in `others` (see `stand_ins`).

    Raises:
        UserError: The engine has neither; a language is never replaced by another unasked.
    """
    language = find(tag)
    language = find(others.get(language.tag, language.tag))
    found = code(language)
    if found is None:
        raise UserError(
            f"{engine} does not have {language.name} ({language.tag}): choose another engine, or name a language to"
            f" treat it as with mt_language: {{{language.tag}: <language>}}"
        )
    if language.note:
        once(language.note)
    return found
