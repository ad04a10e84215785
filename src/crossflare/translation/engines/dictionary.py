"""Word by word through a lexicon: the engine for languages that no other engine knows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from crossflare.errors import UserError
from crossflare.languages import tag_of
from crossflare.translation.engines.lexicon import HYPHENS, Lexicon, fold, spans
from crossflare.translation.engines.protocol import translate_filled

VERSION = 1
"""Raised when the same lexicon would give another text."""


@dataclass(frozen=True)
class Dictionary:
    """Replaces each word, or the longest phrase, that has an entry; copies the rest, blanks and punctuation too."""

    lexicons: Mapping[tuple[str, str], Lexicon]
    """(source, target) language -> lexicon."""
    licence: str = "that of the lexicon"

    def __post_init__(self) -> None:
        known = {(tag_of(source), tag_of(target)): lexicon for (source, target), lexicon in self.lexicons.items()}
        object.__setattr__(self, "lexicons", known)

    @property
    def identity(self) -> dict[str, Any]:
        """Engine, its version, and the digest of each lexicon."""
        digests = {f"{source}-{target}": lexicon.digest for (source, target), lexicon in self.lexicons.items()}
        return {"engine": "dictionary", "version": VERSION, "lexicons": digests, "licence": self.licence}

    @cached_property
    def _longest(self) -> dict[tuple[str, str], int]:
        """How many words the longest phrase of each lexicon has."""
        return {
            pair: max((key.count(" ") + 1 for key in lex.entries), default=1) for pair, lex in self.lexicons.items()
        }

    def translate(self, texts: Sequence[str], *, source: str, target: str) -> list[str]:
        """See `Translator.translate`."""
        pair = (tag_of(source), tag_of(target))
        if source != target and pair not in self.lexicons:
            known = ", ".join(f"{a} to {b}" for a, b in self.lexicons)
            raise UserError(f"the dictionary has no lexicon from {source} to {target}; it has {known}")
        return translate_filled(
            texts,
            source,
            target,
            lambda filled: [replace_words(text, self.lexicons[pair].entries, self._longest[pair]) for text in filled],
        )


def replace_words(text: str, entries: Mapping[str, str], longest: int) -> str:
    """Return `text` with its words replaced by their entries; the longest phrase first, up to `longest` words."""
    places = spans(text)
    folded = [fold(text[start:end]) for start, end in places]
    pieces: list[str] = []
    done = 0  # characters of `text` already written
    index = 0
    while index < len(places):
        start = places[index][0]
        count, translation = _match(text, places, folded, index, entries, longest)
        end = places[index + count - 1][1]
        new = _recase(text[start:end], translation) if translation is not None else _parts(text[start:end], entries)
        gap = text[done:start]
        if not gap and pieces and new:
            gap = " "  # the words touched, in a script without blanks
        pieces += [gap, new]
        done, index = end, index + count
    return "".join([*pieces, text[done:]])


def _match(
    text: str,
    places: Sequence[tuple[int, int]],
    folded: Sequence[str],
    index: int,
    entries: Mapping[str, str],
    longest: int,
) -> tuple[int, str | None]:
    """Return how many words from `index` on have a common entry, and that entry (1 and None when there is none)."""
    reach = 1
    while (
        reach < longest
        and index + reach < len(places)
        and not text[places[index + reach - 1][1] : places[index + reach][0]].strip(" \u00a0" + HYPHENS)
    ):
        reach += 1
    for count in range(reach, 0, -1):
        found = entries.get(" ".join(folded[index : index + count]))
        if found is not None:
            return count, found
    return 1, None


def _parts(word: str, entries: Mapping[str, str]) -> str:
    """Return an unknown word as it is; if it has hyphens, with its known parts replaced."""
    for hyphen in HYPHENS:
        if hyphen in word:
            return hyphen.join(_parts(part, entries) for part in word.split(hyphen))
    found = entries.get(fold(word))
    return word if found is None else _recase(word, found)


def _recase(word: str, translation: str) -> str:
    """Return `translation` with the casing of `word`: all capitals, a first capital, or as the lexicon has it."""
    letters = [sign for sign in word if sign.isalpha()]
    if len(letters) > 1 and all(sign.isupper() for sign in letters):
        return translation.upper()
    if letters and (letters[0].isupper() or letters[0].istitle()):
        return translation[:1].title() + translation[1:]
    return translation
