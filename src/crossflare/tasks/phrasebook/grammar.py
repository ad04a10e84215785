"""The words and templates of the phrase book, and agreement: the forms that a noun requires of the words around it.

Notation of the word lists. Spanish: a noun has its article before it, an adjective is masculine. Swahili: a noun has
its class after a slash (3, 5, 7 or 9); an adjective is `-stem` (takes the class prefix), `~word` (linked by -a, "of"),
`+word` (linked by -enye, "having") or unchanging; `{s}` before a verb is the subject prefix.

`words.tsv`: one word or phrase per row in four languages. `part` and `label` say where it may occur (empty: anywhere).
`types` holds letters. For a noun they say what it is (L located, P opens to the public, H serves guests, K sat or slept
in, E event, B has content, S runs to a timetable, O bought, C coloured, M made of a material, D works or fails,
F eaten). For an adjective or verb they name the kinds of noun it suits (`*`: all). `graded` says whether `very` may
stand before it.
`templates.tsv`: a sentence in four languages with the same slots, and the types of noun that it suits.
`glosses.tsv`: one English word for each word of the templates.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from crossflare.tasks.files import Row, read_rows

LANGUAGES = ("en", "es", "id", "sw")
FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Word:
    """A word or phrase with its translations."""

    kind: str
    """`noun`, `adjective`, `verb`, `intensifier`, or the name of the slot that it fills."""
    part: str
    label: str
    types: str
    graded: bool
    forms: dict[str, str]
    """Language -> dictionary form, in the notation of `grammar`."""


@dataclass(frozen=True, slots=True)
class SentenceTemplate:
    """A sentence with slots."""

    opinion: bool
    """It may carry a positive or negative word."""
    fact: bool
    """It may be neutral."""
    types: str
    texts: dict[str, str]
    """Language -> sentence with slots in braces."""


@cache
def phrase_words() -> tuple[Word, ...]:
    """Return all rows of `words.tsv`."""
    return tuple(
        Word(
            row.text("kind"),
            row.text("part"),
            row.text("label"),
            row.text("types"),
            row.text("graded") == "yes",
            _texts(row),
        )
        for row in read_rows(FOLDER / "words.tsv")
    )


@cache
def templates() -> tuple[SentenceTemplate, ...]:
    """Return all rows of `templates.tsv`."""
    return tuple(
        SentenceTemplate("opinion" in row.text("labels"), "fact" in row.text("labels"), row.text("types"), _texts(row))
        for row in read_rows(FOLDER / "templates.tsv")
    )


@cache
def glosses() -> dict[str, dict[str, str]]:
    """Return language -> word of a template -> English word."""
    found: dict[str, dict[str, str]] = {language: {} for language in LANGUAGES if language != "en"}
    for row in read_rows(FOLDER / "glosses.tsv"):
        found[row.text("language")][row.text("word")] = row.text("en")
    return found


def suits(types: str, noun: Word) -> bool:
    """Return whether something of these types goes with the noun."""
    return types == "*" or bool(set(types) & set(noun.types))


def _texts(row: Row) -> dict[str, str]:
    return {language: row.text(language) for language in LANGUAGES}


@dataclass(frozen=True, slots=True)
class Concord:
    """The forms that a Swahili noun class requires."""

    this: str
    that: str
    subject: str
    of: str
    having: str
    chosen: str
    """The form in "that I chose"."""
    before_consonant: str
    before_vowel: str


CLASSES = {
    "3": Concord("huu", "ule", "u", "wa", "wenye", "niliouchagua", "m", "mw"),
    "5": Concord("hili", "lile", "li", "la", "lenye", "nililolichagua", "", "j"),
    "7": Concord("hiki", "kile", "ki", "cha", "chenye", "nilichokichagua", "ki", "ch"),
    "9": Concord("hii", "ile", "i", "ya", "yenye", "niliyoichagua", "", "ny"),
}


@dataclass(frozen=True, slots=True)
class Choice:
    """The words that fill the slots of one sentence, in all languages."""

    noun: Word
    adjectives: tuple[Word, ...] = ()
    intensifier: Word | None = None
    fillers: Mapping[str, Word] = field(default_factory=dict[str, Word])
    """Slot -> word, for the slots that need no agreement, and for the verb."""


def render(template: SentenceTemplate, choice: Choice, language: str) -> str:
    """Return the sentence in one language, with every word in agreement."""
    slots = {name: inflect_verb(word, choice.noun, language) for name, word in choice.fillers.items()}
    slots |= noun_forms(choice.noun, language)
    slots |= {
        name: inflect_adjective(word, choice.noun, language)
        for name, word in zip("ab", choice.adjectives, strict=False)
    }
    slots["i"] = choice.intensifier.forms[language] if choice.intensifier else ""
    text = template.texts[language].format_map(slots)
    text = re.sub(r"\s+([.,]|$)", r"\1", re.sub(r" {2,}", " ", text))
    if language == "en":
        text = re.sub(r"\b(a)\(n\) (\w+)", _article, text, flags=re.IGNORECASE)
    if language == "es":
        text = re.sub(r"\bde el\b", "del", text)
    return text[0].upper() + text[1:]


def noun_forms(noun: Word, language: str) -> dict[str, str]:
    """Return the slots that a noun fills: the noun itself, and the words that agree only with it."""
    form = noun.forms[language]
    if language == "es":
        article, bare = form.split(" ")
        female = article == "la"
        given = {
            "este": "esta" if female else "este",
            "ese": "esa" if female else "ese",
            "un": "una" if female else "un",
        }
        return {"n": bare, "el": form} | {slot: f"{word} {bare}" for slot, word in given.items()}
    if language == "sw":
        bare, _, number = form.partition("/")
        concord = CLASSES[number]
        return {
            "n": bare,
            "hii": concord.this,
            "ile": concord.that,
            "s": concord.subject,
            "ya": concord.of,
            "niliyoichagua": concord.chosen,
        }
    return {"n": form}


def inflect_adjective(word: Word, noun: Word, language: str) -> str:
    """Return the form of an adjective next to a noun."""
    form = word.forms[language]
    if language == "es":
        return _feminine(form) if noun.forms["es"].startswith("la ") else form
    if language == "sw":
        number = noun.forms["sw"].partition("/")[2]
        concord = CLASSES[number]
        mark, rest = form[0], form[1:]
        if mark == "~":
            return f"{concord.of} {rest}"
        if mark == "+":
            return f"{concord.having} {rest}"
        if mark == "-":
            return _prefixed(rest, number)
    return form


def inflect_verb(word: Word, noun: Word, language: str) -> str:
    """Return a verb with the subject prefix of the noun; any other filler as it is."""
    form = word.forms[language]
    if language == "es":
        return form
    return form.format(s=noun_forms(noun, language).get("s", ""))


def _feminine(masculine: str) -> str:
    if masculine.endswith("o"):
        return masculine[:-1] + "a"
    if masculine.endswith(("dor", "ol")):
        return masculine + "a"
    for ending, female in (("és", "esa"), ("án", "ana")):
        if masculine.endswith(ending):
            return masculine.removesuffix(ending) + female
    return masculine


def _prefixed(stem: str, number: str) -> str:
    concord = CLASSES[number]
    if stem[0] in "aeiou":
        return concord.before_vowel + stem
    if number == "9":
        # The nasal of class 9 appears only before voiced stops and z.
        return {"b": "m", "z": "n", "d": "n", "g": "n", "j": "n"}.get(stem[0], "") + stem
    return concord.before_consonant + stem


def _article(found: re.Match[str]) -> str:
    article, word = found.groups()
    vowel = word[0] in "aeiouAEIOU" and not word.startswith("use")
    return f"{article}{'n' if vowel else ''} {word}"
