"""The translation engines of a recipe, built or trained when they are first needed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from crossflare.errors import UserError
from crossflare.languages import tag_of
from crossflare.recipe.engines import build_engine, check_taught
from crossflare.recipe.needs import Route
from crossflare.recipe.spec import Spec
from crossflare.recipe.translation import EngineOptions
from crossflare.tasks.example import Split
from crossflare.translation.engines.dictionary import VERSION, Dictionary
from crossflare.translation.engines.lexicon import Lexicon, learn
from crossflare.translation.engines.protocol import Translator, check_pair
from crossflare.translation.translate import for_long_texts

LEARNER = 1
"""This number increases whenever the same rows would give another lexicon."""


@dataclass(frozen=True)
class Taught:
    """The parallel rows that a dictionary can learn from."""

    id: str
    """The content id; it is known before the rows, which may need a translation first."""
    rows: Callable[[], Split]
    """A function that returns the rows, with texts in the target language and sources in the source language."""


@dataclass(frozen=True)
class Learnt:
    """A dictionary whose identity follows from the recipe and the rows alone: a step's id needs no learning."""

    source: str
    target: str
    taught: Taught
    backwards: bool
    """Whether it translates from the rows' texts into their sources."""
    options: Mapping[str, Any]
    """The options of `learn`."""
    licence: str = Dictionary.licence

    @property
    def identity(self) -> dict[str, Any]:
        """The engine, versions, languages, rows, given options, and licence."""
        return {
            "engine": "dictionary",
            "version": VERSION,
            "learner": LEARNER,
            "learnt": {f"{self.source}-{self.target}": self.taught.id, **self.options},
            "licence": self.licence,
        }

    @cached_property
    def dictionary(self) -> Dictionary:
        """The learnt dictionary.

        Raises:
            UserError: Nothing can be learnt from the rows.
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


class Engines:
    """The engines of one recipe.

    Args:
        spec: The recipe.
        taught: (route, language) -> the parallel rows that a dictionary can learn from.
        translators: The folder of the trained translators.
    """

    def __init__(self, spec: Spec, taught: Callable[[Route, str], Taught], translators: Path) -> None:
        self.spec, self.taught, self.translators = spec, taught, translators
        self._built: dict[tuple[Route, str], Translator] = {}

    def get(self, route: Route, language: str) -> Translator:
        """Return the engine of a route between the source language and `language`; `UserError` if there is none."""
        language = tag_of(language)
        if (route, language) not in self._built:
            options: EngineOptions | None = getattr(self.spec.translation, route)
            if options is None:
                raise UserError(f"translation.{route} is missing in the recipe; add {{engine: ...}}")
            engine = self._build(options, route, language)
            self._built[route, language] = engine if route == "latents" else for_long_texts(engine)
        return self._built[route, language]

    def _build(self, options: EngineOptions, route: Route, language: str) -> Translator:
        from crossflare.translation.engines.dictionary import Dictionary
        from crossflare.translation.engines.lexicon import Lexicon

        if options.engine in ("parallel", "none"):
            raise UserError(
                f"translation.{route}: the set's own parallel text cannot translate new rows ('machine' sources for "
                "training rows); name an engine"
            )
        if options.engine == "trained":
            return self._trained(options, language)
        learn = options.options.get("learn")
        check_taught(route, options)
        there = route in ("to_target", "answers")
        pair = (self.spec.source, language) if there else (language, self.spec.source)
        if learn is None:
            return build_engine(options, *pair)
        if learn == "set":
            lexicon = self.spec.task.lexicon
            if lexicon is None:
                raise UserError(f"{self.spec.name} brings no lexicon of its own; use learn: train or lexicon: FILE")
            return Dictionary({(language, self.spec.source): Lexicon(lexicon(language))})
        rest = {name: value for name, value in options.options.items() if name in ("iterations", "minimum")}
        licence = {name: value for name, value in options.options.items() if name == "licence"}
        return Learnt(*pair, self.taught(route, language), not there, rest, **licence)

    def measured(self, language: str) -> dict[str, Any] | None:
        """Return the scores of the translator that was trained for `language`; None if there is none."""
        from crossflare.experiment.data.trained_engine import Trained

        for (_, other), engine in self._built.items():
            inner = getattr(engine, "engine", engine)
            if other == language and isinstance(inner, Trained) and inner.quality is not None:
                return inner.quality
        return None

    def _trained(self, options: EngineOptions, language: str) -> Translator:
        from crossflare.experiment.data.trained_engine import Trained

        described = self.spec.translation.translator
        if described is None:
            raise UserError("engine: trained needs translation.translator: what it is trained on")
        own = {name: value for name, value in options.options.items() if name != "store"}
        return Trained(described, self.spec.source, language, self.translators, **own)
