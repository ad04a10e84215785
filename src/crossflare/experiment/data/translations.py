"""A recipe's translations: rows into the target language and back, encoder states, and answers; all are stored."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from crossflare.experiment.data.engines import Engines, Taught
from crossflare.recipe.needs import Route
from crossflare.recipe.spec import Spec
from crossflare.tasks.example import Split
from crossflare.translation.engines.protocol import Translator
from crossflare.translation.projection.spans import StatesAligner, Yield
from crossflare.translation.states import encode_rows
from crossflare.translation.store import Store
from crossflare.translation.translate import translate_all


class Translations:
    """The translations by the engines of one recipe.

    Args:
        spec: The recipe.
        folder: The folder of `translations/`, `translators/` and `states/`.
        taught: (route, language) -> the parallel rows that a dictionary can learn from.
    """

    def __init__(self, spec: Spec, folder: Path, taught: Callable[[Route, str], Taught]) -> None:
        self.spec, self.states = spec, folder / "states"
        self.engines = Engines(spec, taught, folder / "translators")
        self.texts = folder / "translations"

    @property
    def store(self) -> Store:
        """The stored translations, opened again each time, since other processes also write to them."""
        return Store(self.texts)

    def into_target(self, split: Split, language: str) -> tuple[Split, Yield | None]:
        """Translate rows of the source language into `language`, and keep their own texts as the source.

        Returns:
            The rows; and, for questions, how many kept their answer. The other questions are left out.
        """
        engine = self.engines.get("to_target", language)
        if self.spec.task.asks:
            return self._projected(split, engine, language)
        texts = self._translate(engine, [e.texts for e in split], self.spec.source, language)
        rows = [replace(e, texts=text, source=e.texts) for e, text in zip(split, texts, strict=True)]
        return Split(split.part, language, tuple(rows)), None

    def _projected(self, split: Split, engine: Translator, language: str) -> tuple[Split, Yield]:
        """Translate questions and contexts and find the answers again; rows whose answer is not found are left out."""
        from crossflare.translation.projection.project import project_answers
        from crossflare.translation.projection.search import markers_for

        store, source = self.store, self.spec.source
        rows, lost = project_answers(
            split.examples,
            lambda texts: list(translate_all(store, engine, list(texts), source=source, target=language)),
            language,
            markers=markers_for(engine.identity),
            aligner=_aligner(engine, source, language),
        )
        return Split(split.part, language, tuple(rows)), lost

    def back(self, split: Split) -> Split:
        """Return rows with the translation of their texts into the source language as their source."""
        engine = self.engines.get("to_source", split.language)
        texts = self._translate(engine, [e.texts for e in split], split.language, self.spec.source)
        rows = tuple(example.with_source(text) for example, text in zip(split, texts, strict=True))
        return replace(split, examples=rows)

    def _translate(
        self, engine: Translator, texts: list[tuple[str, ...]], source: str, target: str
    ) -> list[tuple[str, ...]]:
        """Translate every text of every row; rows keep their number of texts."""
        flat = [text for row in texts for text in row]
        done = iter(translate_all(self.store, engine, flat, source=source, target=target))
        return [tuple(next(done) for _ in row) for row in texts]

    def answers_back(self, answers: Sequence[str], language: str) -> list[str]:
        """Translate answers from the source language into `language`."""
        engine = self.engines.get("answers", language)
        return list(translate_all(self.store, engine, list(answers), source=self.spec.source, target=language))

    def identity_of_answers(self, language: str) -> dict[str, Any]:
        """Return the identity of the engine that translates the answers of translate-test back."""
        return dict(self.engines.get("answers", language).identity)

    def latents(self, split: Split) -> list[tuple[Any, ...]]:
        """Return the translation encoder's states [S,d_mt] for each text of each row."""
        store = self.states if self.keeps_states else None
        return encode_rows(self.encoder(split.language), [example.texts for example in split], split.language, store)

    def encoder(self, language: str) -> Any:
        """Return the engine whose encoder reads the target text for FLARE MT."""
        return self.engines.get("latents", language)

    def identity_to_target(self, language: str) -> dict[str, Any] | None:
        """Return the identity of the engine that translates the training rows; None for the set's own text."""
        if not self.spec.translation.translates or language == self.spec.source:
            return None
        engine = self.engines.get("to_target", language)
        aligned = self.spec.task.asks and _aligner(engine, self.spec.source, language) is not None
        return dict(engine.identity) | ({"answers": "aligned by states"} if aligned else {})

    def measured(self, language: str) -> dict[str, Any] | None:
        """Return BLEU and chrF, by direction, of the translator that the recipe trained; None if there is none."""
        return self.engines.measured(language)

    @property
    def keeps_states(self) -> bool:
        """Whether the states of the translation encoder are stored, in float16."""
        latents = self.spec.translation.latents
        return latents is not None and bool(latents.options.get("store"))


def _aligner(engine: Translator, source: str, target: str) -> StatesAligner | None:
    """Return an aligner of words by the states of the engine's encoder; None for engines without an encoder."""
    encoder: Any = getattr(engine, "engine", engine)
    return StatesAligner(encoder, source, target) if hasattr(encoder, "encode") else None
