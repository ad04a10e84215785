"""The languages of the laboratory: sounds, words, endings and word order, each from a seed and a few knobs.

They have private-use tags (ISO 639 gives `qaa` to `qtz` to no language): `qaa` is the source; `qab` is close to it,
`qac` less so, `qad` far.
"""

from dataclasses import dataclass, field
from functools import cache
from random import Random
from typing import Literal

from crossflare.errors import choose
from crossflare.languages import tag_of
from crossflare_lab.world import DOMAINS, JUDGED, Concept, concepts, pick

SOURCE = "qaa"
LABELS = {f"{domain}-topic": domain for domain in DOMAINS} | {name: name for name in JUDGED}
"""Words of the source language that are the tasks' labels, under the names that the tasks give them."""
_ATTEMPTS = 1000


@dataclass(frozen=True, slots=True)
class LanguageSpec:
    """The knobs of one language."""

    tag: str
    order: Literal["SVO", "SOV", "VSO"]
    adjective_first: bool
    """Whether adjectives come before their noun; else they come after it."""
    endings: bool
    """Whether object, place and negation are endings; else place and negation are words, and the object has no mark."""
    consonants: str
    vowels: str
    cognates: float = 0.0
    """Share of words that come from the source language, with `changes`; names always do."""
    changes: dict[str, str] = field(default_factory=dict[str, str], hash=False)
    """Sound changes of cognates: letter -> letter."""


SPECS = (
    LanguageSpec("qaa", "SVO", True, False, "bdfklmnprst", "aeiou"),
    LanguageSpec("qab", "SVO", False, False, "bdfgklmnprst", "aeiou", 0.7, {"f": "v"}),
    LanguageSpec("qac", "SOV", True, True, "bdghklmnrstz", "aeiou", 0.45, {"p": "b", "o": "u"}),
    LanguageSpec("qad", "VSO", False, True, "cghjkmnqtvwxz", "aiouy", 0.2, {"b": "v", "e": "i", "s": "z"}),
)


@dataclass(frozen=True, slots=True)
class WordReading:
    """The meaning of a word form."""

    concept: str
    plural: bool = False
    case: Literal["", "object", "place"] = ""
    past: bool = False
    negated: bool = False


@dataclass(frozen=True, slots=True)
class WordForms:
    """Every word form of one language; no form has two readings."""

    spec: LanguageSpec
    stems: dict[str, str]
    """Concept id -> dictionary form."""
    forms: dict[WordReading, str]
    readings: dict[str, WordReading]


def spec_of(tag: str) -> LanguageSpec:
    """Return the knobs of a language; `UserError` when the laboratory has no such language."""
    return _specs()[choose("language of the laboratory", tag_of(tag), _specs())]


def tags() -> tuple[str, ...]:
    """Return the tags of all languages, the source's first."""
    return tuple(_specs())


def word_forms(tag: str, seed: int = 0) -> WordForms:
    """Return the words of a language, the same for the same seed."""
    return _lexicon(spec_of(tag), seed)


@cache
def _lexicon(spec: LanguageSpec, seed: int) -> WordForms:
    tag = spec.tag
    source = Random(f"lab words {seed} {tag}")
    made = WordForms(spec, {}, {}, {})
    origin = {} if tag == SOURCE else word_forms(SOURCE, seed).stems
    endings: dict[str, str] = {}
    for mark in ("plural", "object", "place", "past", "not"):
        while (ending := pick(source, spec.vowels) + pick(source, spec.consonants)) in endings.values():
            pass
        endings[mark] = ending
    ordered = sorted(concepts().values(), key=lambda c: c.kind not in ("name", "town"))  # names keep their forms
    for concept in ordered:
        stem = _stem(source, spec, concept, origin.get(concept.id))
        for _ in range(_ATTEMPTS):
            new = _inflect(concept, stem, endings, spec.endings)
            if not set(new.values()) & set(made.readings):
                break
            stem = _capitalised(concept, _invent(source, spec, concept))
        else:
            raise RuntimeError(f"no free form for {concept.id} in {tag}")
        made.stems[concept.id] = stem
        made.forms.update(new)
        made.readings.update({form: reading for reading, form in new.items()})
    return made


def _stem(source: Random, spec: LanguageSpec, concept: Concept, origin: str | None) -> str:
    related = source.randrange(1000) < 1000 * spec.cognates
    own = _capitalised(concept, _invent(source, spec, concept))  # always drawn, so that the knob changes no other word
    if spec.tag == SOURCE and concept.id in LABELS:
        return LABELS[concept.id]
    if origin is None or not (related or concept.kind in ("name", "town")):
        return own
    return _capitalised(concept, "".join(spec.changes.get(letter, letter) for letter in origin.lower()))


def _invent(source: Random, spec: LanguageSpec, concept: Concept) -> str:
    short = concept.kind in ("word", "question", "be") and not concept.id.endswith("-topic")
    stem = "".join(pick(source, spec.consonants) + pick(source, spec.vowels) for _ in range(1 if short else 2))
    return stem + ("" if source.randrange(2) else pick(source, spec.consonants))


def _capitalised(concept: Concept, stem: str) -> str:
    return stem.capitalize() if concept.kind in ("name", "town") else stem


def _inflect(concept: Concept, stem: str, endings: dict[str, str], marked: bool) -> dict[WordReading, str]:
    """Return every form of a word: the stem with agglutinated endings."""
    found = {WordReading(concept.id): stem}
    if concept.kind == "verb" or concept.kind == "be":
        for past in (False, True):
            for negated in (False, True) if marked else (False,):
                form = stem + (endings["past"] if past else "") + (endings["not"] if negated else "")
                found[WordReading(concept.id, past=past, negated=negated)] = form
    elif concept.kind in ("person", "thing", "place", "name", "town", "question"):
        for plural in (False, True) if concept.kind in ("person", "thing") else (False,):
            for case in ("", "object", "place") if marked else ("",):
                form = stem + (endings["plural"] if plural else "") + (endings[case] if case else "")
                found[WordReading(concept.id, plural, case)] = form  # type: ignore[arg-type]
    return found


@cache
def _specs() -> dict[str, LanguageSpec]:
    return {spec.tag: spec for spec in SPECS}
