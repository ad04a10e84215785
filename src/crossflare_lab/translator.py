"""Translation between the laboratory's languages: through the meaning, exact, or with errors at given rates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from random import Random
from typing import Any

from crossflare.errors import UserError
from crossflare.translation.engines.protocol import check_pair, translate_filled
from crossflare_lab.grammar import carry, linearise, read_clauses, write_clauses
from crossflare_lab.languages import WordForms, word_forms
from crossflare_lab.world import Clause, Phrase, concepts, of_kind

VERSION = 1
"""Raised when the same text would get another translation."""


@dataclass(frozen=True)
class LabTranslator:
    """Reads a text's meaning and writes it in the other language; then makes errors, the same for the same text.

    Raises:
        UserError: A rate is not from 0 to 1.
    """

    drop: float = 0.0
    """Probability that a word is left out (the last one of a sentence stays)."""
    swap: float = 0.0
    """Probability that a word changes places with the next."""
    wrong_sense: float = 0.0
    """Probability that a content word (not a name) is replaced by another of its kind: always by the same one."""
    seed: int = 0
    """The seed of the errors."""
    world: int = 0
    """Seed of the languages."""

    def __post_init__(self) -> None:
        for name in ("drop", "swap", "wrong_sense"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise UserError(f"option '{name}' of the engine lab: expected a probability from 0 to 1, got {value}")

    @property
    def identity(self) -> Mapping[str, Any]:
        """Engine, version, rates and seeds."""
        own = {name: getattr(self, name) for name in ("drop", "swap", "wrong_sense", "seed", "world")}
        return {"engine": "lab", "version": VERSION, "licence": "Apache-2.0", **own}

    def translate(self, texts: Sequence[str], *, source: str, target: str) -> list[str]:
        """See `Translator.translate`."""
        check_pair(source, target)
        pair = word_forms(source, self.world), word_forms(target, self.world)
        return translate_filled(texts, source, target, lambda filled: [self._text(text, *pair) for text in filled])

    def _text(self, text: str, origin: WordForms, goal: WordForms) -> str:
        source = Random(f"lab errors {self.seed} {origin.spec.tag} {goal.spec.tag} {text}")
        clauses = read_clauses(text, origin)
        if write_clauses(clauses, origin) != text:  # the grammar did not make it: word by word
            return " ".join(carry(word, origin, goal) for word in text.split())
        sentences: list[str] = []
        for clause in clauses:
            words = linearise(self._mistake(clause, source), goal)
            sentences.append(" ".join(self._disturb(words, source)) + clause.end)
        return " ".join(sentences)

    def _mistake(self, clause: Clause, source: Random) -> Clause:
        def other(concept: str) -> str:
            return wrong_senses().get(concept, concept) if source.random() < self.wrong_sense else concept

        def phrase(given: Phrase | None) -> Phrase | None:
            if given is None:
                return None
            return Phrase(other(given.head), tuple(other(a) for a in given.adjectives), given.plural)

        if not self.wrong_sense:
            return clause
        return replace(
            clause,
            subject=phrase(clause.subject),
            verb=None if clause.verb is None else other(clause.verb),
            object=phrase(clause.object),
            place=phrase(clause.place),
        )

    def _disturb(self, words: list[str], source: Random) -> list[str]:
        kept = [word for word in words if not self.drop or source.random() >= self.drop] or words[-1:]
        place = 0
        while self.swap and place + 1 < len(kept):
            if source.random() < self.swap:
                kept[place], kept[place + 1] = kept[place + 1], kept[place]
                place += 1
            place += 1
        return kept


@cache
def wrong_senses() -> dict[str, str]:
    """Return concept -> the one that replaces it: another of its kind, and for nouns and verbs from another domain."""
    found: dict[str, str] = {}
    for kind in ("person", "thing", "place", "verb", "adjective"):
        members = [c.id for c in concepts().values() if c.kind == kind]
        step = len(of_kind("adjective")) // 2 + 1 if kind == "adjective" else len(members) // 5 + 1
        found |= {one: members[(place + step) % len(members)] for place, one in enumerate(members)}
    return found
