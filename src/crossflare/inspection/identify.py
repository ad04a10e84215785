"""Whether texts look like their language, where a language identifier is installed."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from crossflare.languages import tag_of

LETTERS = 40
"""The least letters of a text that can be judged: a few words do not show their language."""
LEAST = 0.1
"""A text whose own language has less than this probability does not look like it; close languages both have more."""
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


@dataclass
class IdentityTally:
    """The texts of one part in one language, as the identifier sees them."""

    language: str
    judged: int = 0
    """Texts that are long enough, in a language that the identifier knows."""
    unlike: int = 0
    first: str = ""
    """The first row of these."""
    looks: Counter[str] = field(default_factory=Counter[str])
    """The languages that they look like instead: language -> texts."""

    def add(self, texts: Sequence[str], origin: str) -> None:
        """Count one row, its texts taken together."""
        rank, text = identifier(), "\n".join(texts)
        if rank is None or not knows(self.language) or sum(map(str.isalpha, text)) < LETTERS:
            return
        found = rank(text)
        self.judged += 1
        if found[self.language] < LEAST:
            self.unlike += 1
            self.first = self.first or origin
            self.looks[max(found, key=lambda tag: found[tag])] += 1
