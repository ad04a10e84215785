"""Sentences of the phrase book, drawn from a seed."""

import random
import string
from collections.abc import Sequence
from functools import cache
from typing import TypeVar

from crossflare.errors import UserError
from crossflare.tasks.classification import TextTask
from crossflare.tasks.dataset import LanguageParts
from crossflare.tasks.example import Example
from crossflare.tasks.phrasebook.grammar import Choice, render
from crossflare.tasks.phrasebook.vocabulary import LANGUAGES, Template, Word, suits, templates, words

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
    """Make the set: fully parallel by id, classes equal in number up to one, no sentence twice.

    Args:
        seed: Another seed, other sentences; the division of the words among the parts stays.
        train: Number of examples; a smaller part is the beginning of a larger one; 0: no such part.
        dev: As `train`.
        test: As `train`.

    Raises:
        UserError: A number is negative or beyond what templates and words yield.
    """
    sizes = {"train": train, "dev": dev, "test": test}
    for part, size in sizes.items():
        if size < 0:
            raise UserError(f"phrasebook: expected a number of {part} sentences of 0 or more, got {size}")
    if not any(sizes.values()):
        raise UserError("phrasebook: expected sentences in at least one part, got 0 in each")
    # Drawn at once, so that too large a number is refused before any work.
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
        # New in every language: two English sentences may have one translation.
        keys = set(zip(LANGUAGES, texts, strict=True))
        if not keys & seen:
            seen |= keys
            return texts
    raise UserError(f"phrasebook: only {len(seen) // len(LANGUAGES)} different {part} sentences found; ask for fewer")


def _choose(source: random.Random, template: Template, part: str, label: str) -> Choice | None:
    slots = {name for _, name, _, _ in string.Formatter().parse(template.texts["en"]) if name}
    kind = "adjective" if "a" in slots else "verb" if "v" in slots else None
    # Words of the class before the noun, so that those which suit few nouns come as often as the others.
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
def _templates(label: str) -> tuple[Template, ...]:
    return tuple(one for one in templates() if (one.fact if label == "neutral" else one.opinion))


@cache
def _words(kind: str, part: str = "", label: str = "") -> tuple[Word, ...]:
    return tuple(word for word in words() if (word.kind, word.part, word.label) == (kind, part, label))


def _pick(source: random.Random, items: Sequence[Item]) -> Item:
    return items[source.randrange(len(items))]
