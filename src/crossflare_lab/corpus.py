"""The text on which the laboratory's models are pre-trained: short documents, most of them in the source language.

Each document states something and asks about it. It has two events of one domain, and the kind of story that they are;
or people and things with qualities, and the claims that follow from them; or facts about people, with questions and
their answers. The asked sentences are marked: models predict them more often than other words, so that they learn to
use what was said before. This is not raw text: it teaches reading for a purpose, like the instructions on which large
models are trained. No document holds all clauses of a test item (in any language: they are compared as meanings, before
they are written).
"""

from dataclasses import dataclass, replace
from functools import cache
from random import Random
from typing import NamedTuple

from crossflare.errors import UserError
from crossflare_lab import items
from crossflare_lab.grammar import carry, write_clauses
from crossflare_lab.languages import SOURCE, tags, word_forms
from crossflare_lab.world import DOMAINS, JUDGED, Clause, Phrase, pick

CLAIMS, QUESTIONS = 4, 6
"""Claims and questions of one document."""
MIXED, BORROWED = 0.25, 0.25
"""Probability that a sentence of a target document is in the source language, and that a word of the others is."""


class Sentence(NamedTuple):
    """One sentence or answer of a document."""

    clause: Clause
    asked: bool = False
    """Whether it follows from what was said before."""


@dataclass(frozen=True, slots=True)
class LabDocument:
    """One document."""

    language: str
    parts: tuple[tuple[str, bool], ...]
    """Its sentences in order, each with whether it is asked for."""
    clauses: tuple[Clause, ...]

    @property
    def text(self) -> str:
        """The whole text."""
        return " ".join(text for text, _ in self.parts)


def documents(count: int, target_share: float = 0.05, seed: int = 0, world: int = 0) -> list[LabDocument]:
    """Return `count` documents, with those of the target languages spread evenly among the source's.

    Args:
        count: Number of documents.
        target_share: Share of words in the target languages together, as far as possible: words mixed in from the
            source count for the source. Each target language has the same part of it.
        seed: Seed of the text, which differs from that of the tasks for every number.
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


def _document(source: Random, language: str, world: int) -> LabDocument:
    kind = pick(source, (_events, *[_qualities] * 2, *[_questions] * 3))
    while True:
        said = kind(source)
        if not gives_away([each.clause for each in said]):
            break
    parts = tuple((_say(source, each.clause, language, world), each.asked) for each in said)
    return LabDocument(language, parts, tuple(each.clause for each in said))


def _say(source: Random, clause: Clause, language: str, world: int) -> str:
    """Return a sentence; in a target language, with words and sentences of the source language mixed in."""
    own, other = word_forms(language, world), word_forms(SOURCE, world)
    if language == SOURCE or source.random() < MIXED:
        return write_clauses([clause], other)
    words = write_clauses([clause], own).split()
    return " ".join(carry(word, own, other) if source.random() < BORROWED else word for word in words)


def gives_away(clauses: list[Clause]) -> bool:
    """Return whether a document holds every clause of an item of a test part (of the default seed and size)."""
    said = frozenset(clauses)
    return any(facts <= said for clause in said for facts in _test_items().get(clause, ()))


def _events(source: Random) -> list[Sentence]:
    label = source.randrange(len(DOMAINS))
    (told,) = items.topic(source, label).texts
    return [*map(Sentence, told), Sentence(Clause(Phrase(f"{DOMAINS[label]}-topic")), asked=True)]


def _qualities(source: Random) -> list[Sentence]:
    premise, claims = items.claims(source, CLAIMS)
    judged = [(Sentence(claim), Sentence(Clause(Phrase(JUDGED[label])), asked=True)) for claim, label in claims]
    return [Sentence(premise), *(said for pair in judged for said in pair)]


def _questions(source: Random) -> list[Sentence]:
    told = items.story(source, 1 + source.randrange(items.FACTS))
    asked = [items.ask(pick(source, told)) for _ in range(QUESTIONS)]
    answered = [(Sentence(question), Sentence(replace(answer, end="."), asked=True)) for question, answer in asked]
    return [*map(Sentence, told), *(said for pair in answered for said in pair)]


@cache
def _test_items() -> dict[Clause, list[frozenset[Clause]]]:
    from crossflare_lab.sets import SIZES

    found: dict[Clause, list[frozenset[Clause]]] = {}
    for kind in ("topic", "nli", "qa"):
        for item in items.draw(kind, "test", SIZES["test"], 0):
            found.setdefault(item.texts[0][0], []).append(item.facts)
    return found
