"""The contents of the laboratory's world: concepts, and clauses made from them, without any language.

Concepts are named in English for the reader; no model ever sees these names.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Literal, TypeVar

Kind = Literal["person", "thing", "place", "verb", "adjective", "name", "town", "time", "question", "word", "be"]
Item = TypeVar("Item")

DOMAINS = ("food", "nature", "travel", "craft", "music")
JUDGED = ("entailment", "neutral", "contradiction")
"""The possible labels of a claim, given what was said."""
_OF_DOMAINS = {
    "food": {
        "person": "cook baker waiter",
        "thing": "bread soup cake apple cheese honey",
        "place": "kitchen bakery tavern",
        "verb": "bake taste fry serve",
    },
    "nature": {
        "person": "hunter farmer fisher",
        "thing": "tree wolf river flower bird fish",
        "place": "forest meadow lake",
        "verb": "plant hunt water catch",
    },
    "travel": {
        "person": "sailor driver guide",
        "thing": "ship cart map ticket road tent",
        "place": "harbour station inn",
        "verb": "steer cross load follow",
    },
    "craft": {
        "person": "smith weaver potter",
        "thing": "hammer cloth pot rope saw chair",
        "place": "workshop forge mill",
        "verb": "mend build weave carve",
    },
    "music": {
        "person": "singer drummer piper",
        "thing": "song drum flute bell string horn",
        "place": "stage hall theatre",
        "verb": "sing play tune hear",
    },
}
_GENERAL = {
    "verb": "buy sell find lose hide want",
    "time": "today yesterday often now",
    "question": "who what where",
    "word": "not in entailment neutral contradiction food-topic nature-topic travel-topic craft-topic music-topic",
    "be": "be",
}
ANTONYMS = ("hot cold", "big small", "old new", "clean dirty", "dry wet", "heavy light")
NAMES, TOWNS = 16, 10


@dataclass(frozen=True, slots=True)
class Concept:
    """A meaning for which every language has a word."""

    id: str
    kind: Kind
    domain: str = ""
    """One of `DOMAINS`; empty for a concept without a domain."""


@dataclass(frozen=True, slots=True)
class Phrase:
    """A thing or person (or, after the copula, a quality), with adjectives."""

    head: str
    """Concept id; in a text with unknown words, the word itself."""
    adjectives: tuple[str, ...] = ()
    plural: bool = False


@dataclass(frozen=True, slots=True)
class Clause:
    """One sentence, or a fragment of one (an answer) where `verb` is None."""

    subject: Phrase | None = None
    verb: str | None = None
    object: Phrase | None = None
    """The object of the action; after `be`, what the subject is."""
    place: Phrase | None = None
    time: str | None = None
    past: bool = False
    negated: bool = False
    end: str = "."
    """`.`, `?`, or nothing after a fragment."""


@cache
def concepts() -> dict[str, Concept]:
    """Return every concept by its id."""
    found = [
        Concept(word, kind, domain)  # type: ignore[arg-type]
        for domain, kinds in _OF_DOMAINS.items()
        for kind, words in kinds.items()
        for word in words.split()
    ]
    found += [Concept(word, kind) for kind, words in _GENERAL.items() for word in words.split()]  # type: ignore[arg-type]
    found += [Concept(word, "adjective") for pair in ANTONYMS for word in pair.split()]
    found += [Concept(f"name-{number}", "name") for number in range(NAMES)]
    found += [Concept(f"town-{number}", "town") for number in range(TOWNS)]
    return {concept.id: concept for concept in found}


@cache
def of_kind(kind: Kind, domain: str = "") -> tuple[str, ...]:
    """Return the ids of the concepts of a kind in a domain."""
    return tuple(c.id for c in concepts().values() if c.kind == kind and c.domain == domain)


@cache
def opposites() -> dict[str, str]:
    """Return adjective -> antonym."""
    pairs = [tuple(pair.split()) for pair in ANTONYMS]
    return {one: other for a, b in pairs for one, other in ((a, b), (b, a))}


def pick(source: Random, items: Sequence[Item]) -> Item:
    """Return one of `items`, by `randrange` alone, whose stream is the same in every version of Python."""
    return items[source.randrange(len(items))]


def pick_several(source: Random, items: Sequence[Item], count: int) -> list[Item]:
    """Return the items at `count` distinct places of `items`, in random order."""
    left = list(items)
    return [left.pop(source.randrange(len(left))) for _ in range(count)]
