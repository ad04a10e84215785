"""A word list from the phrase book's other languages into English, with gaps as real ones have."""

import re
from collections import Counter
from collections.abc import Iterable

from crossflare.errors import UserError, choose
from crossflare.files import content_id
from crossflare.tasks.phrasebook.generate import phrasebook
from crossflare.tasks.phrasebook.grammar import inflect_adjective, inflect_verb, noun_forms
from crossflare.tasks.phrasebook.vocabulary import Word, glosses, words


def lexicon(language: str, coverage: float = 0.85, seed: int = 0) -> dict[str, str]:
    """Return word -> English word, in small letters.

    Args:
        language: `es`, `id` or `sw`.
        coverage: Share of the running words of `phrasebook(seed)` that have an entry. The gaps are spread so that the
            words of the templates and those of train, dev and test are each covered to about this share.
        seed: Chooses the words that lack an entry.

    Raises:
        UserError: The language is not one of the three, or `coverage` is not in (0, 1].
    """
    choose("language with a lexicon into English", language, glosses())
    if not 0 < coverage <= 1:
        raise UserError(f"lexicon: expected a coverage above 0 and up to 1, got {coverage}")
    data = phrasebook(seed)
    counts = Counter(
        token for part in data.parts(language) for item in data.split(language, part) for token in tokens(item.texts[0])
    )
    entries = {token: (gloss, "") for token, gloss in glosses()[language].items()} | content_entries(language)
    groups: dict[str, list[str]] = {}
    for token in counts:
        groups.setdefault(entries[token][1], []).append(token)
    missing: set[str] = set()
    budget = 0.0
    # The shared words come last and pay for what the smaller groups could not spend.
    for group in sorted(groups, reverse=True):
        budget += (1 - coverage) * sum(counts[token] for token in groups[group])
        for token in sorted(groups[group], key=lambda token: content_id([seed, token], 64)):
            if counts[token] <= budget:
                missing.add(token)
                budget -= counts[token]
    return {token: english for token, (english, _) in sorted(entries.items()) if token not in missing}


def tokens(text: str) -> list[str]:
    """Return the words of a text in small letters."""
    return re.findall(r"\w+", text.lower())


def content_entries(language: str) -> dict[str, tuple[str, str]]:
    """Return word -> (English, part) for every form of the word list; part is empty for the words of all parts."""
    known = glosses()[language]
    entries: dict[str, tuple[str, str]] = {}
    for word in words():
        for form in _forms(word, language):
            # What the templates use too ("me", "of") is known as such; the one word left carries the meaning.
            left = [token for token in tokens(form) if token not in known]
            english = word.forms["en"] if len(tokens(form)) == 1 else re.sub(r"^made me | me$", "", word.forms["en"])
            for token in left:
                entries.setdefault(token, (english, word.part))
    return entries


def _forms(word: Word, language: str) -> Iterable[str]:
    if word.kind == "noun":
        return [noun_forms(word, language)["n"]]
    nouns = [noun for noun in words() if noun.kind == "noun"]
    if word.kind == "adjective":
        return {inflect_adjective(word, noun, language) for noun in nouns}
    return {inflect_verb(word, noun, language) for noun in nouns}
