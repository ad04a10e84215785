"""The language that a text looks like, where a language identifier is installed."""

from collections.abc import Callable, Iterable, Mapping
from functools import cache

from crossflare.errors import UserError
from crossflare.languages import tag_of

LETTERS = 40
"""The least letters of a text that can be judged alone: a few words do not show their language."""
Rank = Callable[[str], Mapping[str, float]]
"""A text -> the probability of each language that the identifier knows."""


@cache
def identifier() -> Rank | None:
    """Return the language identifier, whose languages are tags of crossflare's; None where none is installed."""
    from crossflare.libraries.py3langid import load_ranker

    rank = load_ranker()
    if rank is None:
        return None
    tags = {code: tag_of(code) for code in rank("")}

    def by_tag(text: str) -> Mapping[str, float]:
        found: dict[str, float] = {}
        for code, probability in rank(text).items():
            found[tags[code]] = found.get(tags[code], 0.0) + probability
        return found

    return by_tag


def knows(language: str) -> bool | None:
    """Return whether the identifier knows a language, in the script of its tag; None where there is no identifier."""
    rank = identifier()
    return None if rank is None else language in rank("")


def chooser(among: Iterable[str]) -> Callable[[str], str]:
    """Return a function that gives the most probable of some languages for a text.

    Raises:
        UserError: No identifier is installed, or it does not know one of the languages.
    """
    tags, rank = tuple(among), identifier()
    if rank is None:
        raise UserError(
            "the language of each text is not given, and no language identifier is installed; name the languages, or "
            "run: pip install 'crossflare[language-id]'"
        )
    if unknown := [tag for tag in tags if not knows(tag)]:
        raise UserError(f"the language identifier does not know '{unknown[0]}'; name the language of each text")

    def choose(text: str) -> str:
        found = rank(text)
        return max(tags, key=lambda tag: found[tag])

    return choose
