"""The interface of every translation engine, and the rules that all engines share."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from crossflare.disk.files import content_id
from crossflare.errors import UserError
from crossflare.languages import Language, find_language, tag_of
from crossflare.translation.engines.model_files import once


@runtime_checkable
class Translator(Protocol):
    """An engine."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """All that its output depends on, as JSON: `engine`, `licence`, and the model, its hash and the options."""
        ...

    def translate(self, texts: Sequence[str], *, source: str, target: str) -> list[str]:
        """Return one translation per text, in order; blank texts come back as they are.

        Args:
            texts: Texts in the language `source`; each may hold line breaks.
            source: BCP-47 tag of the language translated from.
            target: BCP-47 tag of the language translated to.

        Raises:
            UserError: The engine lacks the pair, or both are the same language.
        """
        ...


def engine_id(identity: Mapping[str, Any]) -> str:
    """Return the content id of an engine: equal exactly when its identity is equal."""
    return content_id(dict(identity))


def check_pair(source: str, target: str) -> None:
    """Raise `UserError` when there is nothing to translate between `source` and `target`."""
    if tag_of(source).lower() == tag_of(target).lower():
        raise UserError(f"source and target are both '{tag_of(source)}': nothing to translate; name two languages")


def one_for_each(translations: Sequence[str], count: int) -> Sequence[str]:
    """Return `translations`; raise `RuntimeError` when they are not `count`, so that texts cannot shift."""
    if len(translations) != count:
        raise RuntimeError(f"expected {count} translations, the engine gave {len(translations)}")
    return translations


def translate_filled(
    texts: Sequence[str], source: str, target: str, engine: Callable[[list[str]], Sequence[str]]
) -> list[str]:
    """Run `engine` over the texts that hold more than white space; the others come back as they are.

    Raises:
        UserError: `source` and `target` are the same.
        RuntimeError: The engine returned another number of texts than it got.
    """
    check_pair(source, target)
    filled = [text for text in texts if text.strip()]
    if not filled:
        return list(texts)
    results = iter(one_for_each(engine(filled), len(filled)))
    return [next(results) if text.strip() else text for text in texts]


PATIENCE = 3600.0
"""Seconds that one batch may take: far more than a slow machine needs, so that nothing waits for ever."""


class Deadline:
    """The end of the time that one batch of an engine may take."""

    def __init__(self, engine: str) -> None:
        """Start the time of a batch; the error names the engine."""
        self._engine, self._end = engine, time.monotonic() + PATIENCE

    def check(self) -> None:
        """Raise `UserError` if the time is over."""
        if time.monotonic() > self._end:
            raise UserError(
                f"{self._engine} took more than {PATIENCE:.0f} seconds for one batch; take a smaller model, fewer "
                "beams or a smaller tokens_per_batch"
            )


def stand_ins(mt_language: Mapping[str, str] | None) -> dict[str, str]:
    """Return `mt_language` with both sides as BCP-47 tags: language of the texts -> language that they are read as.

    Raises:
        UserError: An unknown language.
    """
    return {find_language(tag).tag: find_language(other).tag for tag, other in (mt_language or {}).items()}


def engine_code(tag: str, engine: str, code: Callable[[Language], str | None], others: Mapping[str, str]) -> str:
    """Return the code of the language `tag`, or of its stand-in in `others` (see `stand_ins`).

    Raises:
        UserError: The engine has neither; a language is replaced by another only when the user asks for it.
    """
    language = find_language(tag)
    language = find_language(others.get(language.tag, language.tag))
    found = code(language)
    if found is None:
        raise UserError(
            f"{engine} does not have {language.name} ({language.tag}): choose another engine, or name a language to"
            f" treat it as with mt_language: {{{language.tag}: <language>}}"
        )
    if language.note:
        once(language.note)
    return found
