"""The dictionary of `learn: train`: learnt from parallel rows when its first text is to be translated."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from crossflare.tasks.example import Split
from crossflare.translation.engines.dictionary import VERSION, Dictionary
from crossflare.translation.engines.lexicon import Lexicon, learn
from crossflare.translation.engines.protocol import check_pair

LEARNER = 1
"""Raised whenever the same rows would give another lexicon."""


@dataclass(frozen=True)
class Taught:
    """The parallel rows that a dictionary may learn from."""

    id: str
    """Content id, known before the rows are there: they may have to be translated first."""
    rows: Callable[[], Split]
    """Return them; the texts are in the target language, the sources beside them in the source language."""


@dataclass(frozen=True)
class Learnt:
    """A dictionary whose identity follows from the recipe and the rows alone, so that a step is named unlearnt."""

    source: str
    target: str
    taught: Taught
    backwards: bool
    """Whether it translates from the rows' texts into their sources."""
    options: Mapping[str, Any]
    """Of `learn`."""
    licence: str = Dictionary.licence

    @property
    def identity(self) -> dict[str, Any]:
        """Engine, versions, languages, the rows, the options that are given, and the licence."""
        return {
            "engine": "dictionary",
            "version": VERSION,
            "learner": LEARNER,
            "learnt": {f"{self.source}-{self.target}": self.taught.id, **self.options},
            "licence": self.licence,
        }

    @cached_property
    def dictionary(self) -> Dictionary:
        """What is learnt.

        Raises:
            UserError: The rows teach nothing.
        """
        pairs = [
            (text, source) if self.backwards else (source, text)
            for example in self.taught.rows()
            if example.source is not None
            for text, source in zip(example.texts, example.source, strict=True)
        ]
        lexicon: Lexicon = learn(pairs, **self.options)
        return Dictionary({(self.source, self.target): lexicon}, self.licence)

    def translate(self, texts: Sequence[str], *, source: str, target: str) -> list[str]:
        """See `Translator.translate`."""
        check_pair(source, target)
        return self.dictionary.translate(texts, source=source, target=target) if texts else []
