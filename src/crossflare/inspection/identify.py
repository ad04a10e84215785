"""Whether texts look like their language, where a language identifier is installed."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from crossflare.languages.identify import LETTERS, identifier, knows

LEAST = 0.1
"""A text whose own language has less than this probability does not look like it; close languages both have more."""


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
