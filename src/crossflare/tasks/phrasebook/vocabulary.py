"""The word lists and templates of the phrase book, read from the tables beside this module.

`words.tsv`: one word or phrase per row in four languages. `part` and `label` say where it may occur (empty: anywhere).
`types` holds letters: of a noun, what it is (L located, P opens to the public, H serves guests, K sat or slept in,
E event, B has content, S runs to a timetable, O bought, C coloured, M made of a material, D works or fails, F eaten);
of an adjective or verb, the kinds of noun it suits (`*`: all). `graded` says whether `very` may stand before it.
`templates.tsv`: a sentence in four languages with the same slots, and the types of noun that it suits.
`glosses.tsv`: one English word for each word of the templates.
"""

from dataclasses import dataclass
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
class Template:
    """A sentence with slots."""

    opinion: bool
    """May carry a positive or negative word."""
    fact: bool
    """May be neutral."""
    types: str
    texts: dict[str, str]
    """Language -> sentence with slots in braces."""


@cache
def words() -> tuple[Word, ...]:
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
def templates() -> tuple[Template, ...]:
    """Return all rows of `templates.tsv`."""
    return tuple(
        Template("opinion" in row.text("labels"), "fact" in row.text("labels"), row.text("types"), _texts(row))
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
    """Say whether something of these types goes with the noun."""
    return types == "*" or bool(set(types) & set(noun.types))


def _texts(row: Row) -> dict[str, str]:
    return {language: row.text(language) for language in LANGUAGES}
