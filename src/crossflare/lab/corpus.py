"""The text that the laboratory's models are pre-trained on: short documents, most of them in the source language.

Three kinds, in equal numbers: events of one domain (half of them end in a sentence that names it), events and what
follows of their people's and things' qualities, and facts with a question and its answer. The last sentence is marked:
models are asked for it more often than for others, so that they learn to go on from what was said before.
No document holds all clauses of a test item (in any language: they are compared as meanings, before they are written).
"""

from dataclasses import dataclass, replace
from functools import cache
from random import Random

from crossflare.errors import UserError
from crossflare.lab import items
from crossflare.lab.grammar import carry, write
from crossflare.lab.languages import SOURCE, lexicon, tags
from crossflare.lab.world import DOMAINS, Clause, Phrase, opposites, pick, sample

MIXED, BORROWED = 0.25, 0.25
"""Probability that a sentence of a target document is in the source language, and that a word of another one is."""


@dataclass(frozen=True, slots=True)
class Document:
    """One document."""

    language: str
    text: str
    last: str
    """Its last sentence (or answer), which follows `text` after a blank."""
    clauses: tuple[Clause, ...]


def documents(count: int, target_share: float = 0.05, seed: int = 0, world: int = 0) -> list[Document]:
    """Return `count` documents, the target languages' spread evenly among the source's.

    Args:
        count: How many.
        target_share: Share of words in the target languages together, as far as it can be had: what is mixed in
            counts for the source. Each has the same part of it.
        seed: Of the text, other than that of the tasks whatever the number.
        world: Seed of the languages.

    Raises:
        UserError: The share is not from 0 to 1.
    """
    if not 0 <= target_share <= 1:
        raise UserError(f"target_share: expected a share from 0 to 1, got {target_share}")
    source = Random(f"lab corpus {seed}")
    share = min(1.0, target_share / ((1 - MIXED) * (1 - BORROWED)))
    targets = tags()[1:]
    return [_document(source, _language(number, share, targets), world) for number in range(count)]


def _language(number: int, share: float, targets: tuple[str, ...]) -> str:
    before, after = int(number * share), int((number + 1) * share)
    return SOURCE if before == after else targets[before % len(targets)]


def _document(source: Random, language: str, world: int) -> Document:
    kind = pick(source, (_events, _qualities, _questions))
    while True:
        clauses = kind(source)
        if not gives_away(clauses):
            break
    said = [_say(source, clause, language, world) for clause in clauses]
    return Document(language, " ".join(said[:-1]), said[-1], tuple(clauses))


def _say(source: Random, clause: Clause, language: str, world: int) -> str:
    """Return a sentence; of a target language, with what its speakers mix in of the source's."""
    own, other = lexicon(language, world), lexicon(SOURCE, world)
    if language == SOURCE or source.random() < MIXED:
        return write([clause], other)
    words = write([clause], own).split()
    return " ".join(carry(word, own, other) if source.random() < BORROWED else word for word in words)


def gives_away(clauses: list[Clause]) -> bool:
    """Say whether a document holds every clause of an item of a test part (of the default seed and size)."""
    said = frozenset(clauses)
    return any(facts <= said for clause in said for facts in _test_items().get(clause, ()))


def _events(source: Random) -> list[Clause]:
    domain = pick(source, DOMAINS)
    told = [
        items.event(source, [pick(source, DOMAINS) if source.randrange(4) == 0 else domain for _ in range(4)])
        for _ in range(2)
    ]
    again = pick(source, told)
    shorter = (replace(again, place=None), replace(again, object=None), again)[source.randrange(3)]
    about = Clause(Phrase("story"), "be", Phrase(f"{domain}-topic"))
    return [*told, *[(shorter,), (about,), (shorter, about)][source.randrange(3)]]


def _qualities(source: Random) -> list[Clause]:
    premise = items.described(source)
    assert premise.subject
    assert premise.object
    claims: list[Clause] = []
    for about in sample(source, (premise.subject, premise.object), 2):
        quality = about.adjectives[0]
        yes = Clause(Phrase(about.head), "be", Phrase(quality))
        no = replace(yes, object=Phrase(opposites()[quality]), negated=True)
        claims += [(yes,), (no,), (yes, no), (no, yes)][source.randrange(4)]
    return [premise, *claims]


def _questions(source: Random) -> list[Clause]:
    told = items.story(source, 2 + source.randrange(3))
    asked = [items.ask(source, pick(source, told)) for _ in range(2)]
    return [*told, *(said for question, answer in asked for said in (question, replace(answer, end=".")))]


@cache
def _test_items() -> dict[Clause, list[frozenset[Clause]]]:
    from crossflare.lab.sets import SIZES

    found: dict[Clause, list[frozenset[Clause]]] = {}
    for kind in ("topic", "nli", "qa"):
        for item in items.draw(kind, "test", SIZES["test"], 0):
            found.setdefault(item.texts[0][0], []).append(item.facts)
    return found
