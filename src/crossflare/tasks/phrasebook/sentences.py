"""Sentences of the phrase book, drawn by a seed, and a word list for them with gaps as real ones have."""

import random
import re
import string
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TypeVar

from crossflare.disk.files import content_id
from crossflare.errors import UserError, choose
from crossflare.tasks.dataset import LanguageParts
from crossflare.tasks.example import Example
from crossflare.tasks.kinds import TextTask
from crossflare.tasks.phrasebook.grammar import (
    LANGUAGES,
    Choice,
    SentenceTemplate,
    Word,
    glosses,
    inflect_adjective,
    inflect_verb,
    noun_forms,
    phrase_words,
    render,
    suits,
    templates,
)

TASK = TextTask("phrasebook", 1, ("negative", "neutral", "positive"))
SIZES = {"train": 600, "dev": 150, "test": 300}
FILLERS = ("place", "material", "ingredient", "hour", "day", "month")
_ATTEMPTS = 500

Item = TypeVar("Item")
Sentence = tuple[str, ...]
"""One text per language, in the order of `LANGUAGES`."""


def phrasebook(
    seed: int = 0, *, train: int = SIZES["train"], dev: int = SIZES["dev"], test: int = SIZES["test"]
) -> LanguageParts:
    """Make the set: fully parallel by id, with class sizes that differ by at most one, and no sentence twice.

    Args:
        seed: Another seed gives other sentences; the division of the words among the parts stays.
        train: Number of examples; a smaller part is the beginning of a larger one. 0: no such part.
        dev: As `train`.
        test: As `train`.

    Raises:
        UserError: A number is negative, or larger than templates and words allow.
    """
    sizes = {"train": train, "dev": dev, "test": test}
    for part, size in sizes.items():
        if size < 0:
            raise UserError(f"phrasebook: expected a number of {part} sentences of 0 or more, got {size}")
    if not any(sizes.values()):
        raise UserError("phrasebook: expected sentences in at least one part, got 0 in each")
    # All parts are drawn now, so that a number that is too large is refused before any work.
    drawn = {part: _draw_part(seed, part, size) for part, size in sizes.items() if size}

    def read(language: str, part: str) -> tuple[Example, ...]:
        column = LANGUAGES.index(language)
        return tuple(
            Example(f"{part}-{number}", (texts[column],), label, None, f"phrasebook {part}:{number}")
            for number, (texts, label) in enumerate(drawn[part])
        )

    return LanguageParts("phrasebook", TASK, dict.fromkeys(LANGUAGES, tuple(drawn)), read)


def _draw_part(seed: int, part: str, size: int) -> list[tuple[Sentence, int]]:
    # Only randrange is used: its stream is the same in every version of Python.
    source = random.Random(f"phrasebook {seed} {part}")
    drawn: list[tuple[Sentence, int]] = []
    seen: set[tuple[str, str]] = set()
    while len(drawn) < size:
        labels = list(range(len(TASK.labels)))
        while labels and len(drawn) < size:
            label = labels.pop(source.randrange(len(labels)))
            drawn.append((_draw_new(source, part, TASK.labels[label], seen), label))
    return drawn


def _draw_new(source: random.Random, part: str, label: str, seen: set[tuple[str, str]]) -> Sentence:
    for _ in range(_ATTEMPTS):
        template = _pick(source, _templates(label))
        choice = _choose(source, template, part, label)
        if choice is None:
            continue
        texts = tuple(render(template, choice, language) for language in LANGUAGES)
        # The sentence must be new in every language: two English sentences may have one translation.
        keys = set(zip(LANGUAGES, texts, strict=True))
        if not keys & seen:
            seen |= keys
            return texts
    raise UserError(f"phrasebook: only {len(seen) // len(LANGUAGES)} different {part} sentences found; ask for fewer")


def _choose(source: random.Random, template: SentenceTemplate, part: str, label: str) -> Choice | None:
    slots = {name for _, name, _, _ in string.Formatter().parse(template.texts["en"]) if name}
    kind = "adjective" if "a" in slots else "verb" if "v" in slots else None
    # The words of the class come before the noun, so that words which suit few nouns come as often as others.
    word = _pick(source, _words(kind, part, label)) if kind else None
    nouns = [
        noun for noun in _words("noun") if suits(template.types, noun) and (word is None or suits(word.types, noun))
    ]
    if not nouns:
        return None
    noun = _pick(source, nouns)
    fillers = {name: _pick(source, _words(name, part, "neutral")) for name in FILLERS if name in slots}
    if word is None:
        return Choice(noun, fillers=fillers)
    if kind == "verb":
        return Choice(noun, fillers={**fillers, "v": word})
    adjectives = [word]
    if "b" in slots:
        others = [other for other in _words("adjective", part, label) if other != word and suits(other.types, noun)]
        if not others:
            return None
        adjectives.append(_pick(source, others))
    return Choice(noun, tuple(adjectives), _intensifier(source, word) if "i" in slots else None, fillers)


def _intensifier(source: random.Random, word: Word) -> Word | None:
    if word.label == "neutral":
        return None
    known = [other for other in _words("intensifier") if word.graded or other.forms["en"] == "really"]
    return _pick(source, [None, *known])


@cache
def _templates(label: str) -> tuple[SentenceTemplate, ...]:
    return tuple(one for one in templates() if (one.fact if label == "neutral" else one.opinion))


@cache
def _words(kind: str, part: str = "", label: str = "") -> tuple[Word, ...]:
    return tuple(word for word in phrase_words() if (word.kind, word.part, word.label) == (kind, part, label))


def _pick(source: random.Random, items: Sequence[Item]) -> Item:
    return items[source.randrange(len(items))]


def lexicon(language: str, coverage: float = 0.85, seed: int = 0) -> dict[str, str]:
    """Return word -> English word, in lower case.

    Args:
        language: `es`, `id` or `sw`.
        coverage: Share of the running words of `phrasebook(seed)` that have an entry. The gaps are spread so that the
            words of the templates and those of train, dev and test are each covered to about this share.
        seed: Chooses the words that have no entry.

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
    # The shared words come last and make up for what the smaller groups could not leave out.
    for group in sorted(groups, reverse=True):
        budget += (1 - coverage) * sum(counts[token] for token in groups[group])
        for token in sorted(groups[group], key=lambda token: content_id([seed, token], 64)):
            if counts[token] <= budget:
                missing.add(token)
                budget -= counts[token]
    return {token: english for token, (english, _) in sorted(entries.items()) if token not in missing}


def tokens(text: str) -> list[str]:
    """Return the words of a text in lower case."""
    return re.findall(r"\w+", text.lower())


def content_entries(language: str) -> dict[str, tuple[str, str]]:
    """Return word -> (English, part) for every form of the word list; part is empty for the words of all parts."""
    known = glosses()[language]
    entries: dict[str, tuple[str, str]] = {}
    for word in phrase_words():
        for form in _forms(word, language):
            # Words that templates use too ("me", "of") have their own meaning; the one word left carries the phrase's.
            left = [token for token in tokens(form) if token not in known]
            english = word.forms["en"] if len(tokens(form)) == 1 else re.sub(r"^made me | me$", "", word.forms["en"])
            for token in left:
                entries.setdefault(token, (english, word.part))
    return entries


def _forms(word: Word, language: str) -> Iterable[str]:
    if word.kind == "noun":
        return [noun_forms(word, language)["n"]]
    nouns = [noun for noun in phrase_words() if noun.kind == "noun"]
    if word.kind == "adjective":
        return {inflect_adjective(word, noun, language) for noun in nouns}
    return {inflect_verb(word, noun, language) for noun in nouns}
