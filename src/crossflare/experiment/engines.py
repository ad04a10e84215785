"""The translation engines of a recipe, one for each route and language, built when they are first needed."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from crossflare.errors import UserError
from crossflare.experiment.needs import Route
from crossflare.experiment.spec import Spec
from crossflare.experiment.translation_spec import EngineOptions
from crossflare.languages import tag_of
from crossflare.tasks.example import Split
from crossflare.translation import splitting
from crossflare.translation.translator import Translator


class Engines:
    """The engines of one recipe.

    Args:
        spec: The recipe.
        known: (route, language) -> parallel rows that a dictionary may learn from.
        translators: Folder of the translators that are trained.
    """

    def __init__(self, spec: Spec, known: Callable[[Route, str], Split], translators: Path) -> None:
        self.spec, self.known, self.translators = spec, known, translators
        self._built: dict[tuple[Route, str], Translator] = {}

    def get(self, route: Route, language: str) -> Translator:
        """Return the engine of a route between the source language and `language`; `UserError` when there is none."""
        language = tag_of(language)
        if (route, language) not in self._built:
            options: EngineOptions | None = getattr(self.spec.translation, route)
            if options is None:
                raise UserError(f"translation.{route} is missing in the recipe; add {{engine: ...}}")
            engine = self._build(options, route, language)
            self._built[route, language] = engine if route == "latents" else for_long_texts(engine)
        return self._built[route, language]

    def _build(self, options: EngineOptions, route: Route, language: str) -> Translator:
        from crossflare.translation.dictionary import Dictionary
        from crossflare.translation.lexicon import Lexicon, learn

        if options.engine == "parallel":
            raise UserError(
                f"translation.{route}: the set's own parallel text cannot translate new rows ('machine' sources for "
                "training rows); name an engine"
            )
        if options.engine == "trained":
            return self._trained(options, language)
        taught = options.options.get("learn")
        check_taught(route, options)
        if taught is None:
            there = route in ("to_target", "answers")
            return build_engine(options, *((self.spec.source, language) if there else (language, self.spec.source)))
        if taught == "set":
            if self.spec.task.set != "phrasebook":
                raise UserError(f"{self.spec.name} brings no lexicon of its own; use learn: train or lexicon: FILE")
            from crossflare.tasks.phrasebook import lexicon

            return Dictionary({(language, self.spec.source): Lexicon(lexicon(language))})
        pairs = [
            (target, source)
            for example in self.known(route, language)
            if example.source is not None
            for target, source in zip(example.texts, example.source, strict=True)
        ]
        rest = {name: value for name, value in options.options.items() if name in ("iterations", "minimum")}
        licence = {name: value for name, value in options.options.items() if name == "licence"}
        if route == "to_target":
            return Dictionary({(self.spec.source, language): learn([(s, t) for t, s in pairs], **rest)}, **licence)
        return Dictionary({(language, self.spec.source): learn(pairs, **rest)}, **licence)

    def measured(self, language: str) -> dict[str, Any] | None:
        """Return the scores of the translator that was trained for `language`; None where there is none."""
        from crossflare.experiment.trained import Trained

        for (_, other), engine in self._built.items():
            inner = getattr(engine, "engine", engine)
            if other == language and isinstance(inner, Trained) and inner.quality is not None:
                return inner.quality
        return None

    def _trained(self, options: EngineOptions, language: str) -> Translator:
        from crossflare.experiment.trained import Trained

        described = self.spec.translation.translator
        if described is None:
            raise UserError("engine: trained needs translation.translator: what it is trained on")
        own = {name: value for name, value in options.options.items() if name != "store"}
        return Trained(described, self.spec.source, language, self.translators, **own)


def check_taught(route: Route, options: EngineOptions) -> None:
    """Raise `UserError` for a dictionary that is both learnt and given."""
    taught = options.options.get("learn")
    given = sorted({"lexicon", "source_file", "target_file", "pairs_file"} & options.options.keys())
    if taught is not None and given:
        raise UserError(
            f"translation.{route}: learn: {taught} stands beside {', '.join(given)}; "
            "a dictionary is learnt or given: leave one out"
        )


def for_long_texts(engine: Translator) -> Translator:
    """Return an engine that reads texts of any length: one with a limit of tokens gets a sentence at a time."""
    return splitting.Split(engine) if hasattr(type(engine), "max_tokens") else engine


def encode_rows(
    engine: Any, rows: Sequence[tuple[str, ...]], language: str, store: Path | None = None
) -> list[tuple[Any, ...]]:
    """Return a translation encoder's states [S,d_mt] for each text of each row.

    Texts longer than the encoder reads are read in parts, whose states stand one after the other.

    Args:
        engine: One with `encode`.
        rows: Their texts.
        language: BCP-47 tag.
        store: Folder in which states are kept, in float16; None: they are not.
    """
    import torch

    from crossflare.translation.states import encode_stored

    texts = [text for row in rows for text in row]
    limit: int = engine.max_tokens
    counts: list[int] = engine.count_tokens(texts)

    def fits(pieces: Sequence[str]) -> list[bool]:
        return [count <= limit for count in engine.count_tokens(pieces)]

    parts = [
        [text] if count <= limit else [piece for piece, _ in splitting.split(text, fits, language) if piece]
        for text, count in zip(texts, counts, strict=True)
    ]
    flat = [piece for pieces in parts for piece in pieces]
    if store is None:
        made = iter(engine.encode(flat, language))
    else:
        made = (state.float() for state in encode_stored(store, engine, flat, language))
    states = iter([next(made) if len(pieces) == 1 else torch.cat([next(made) for _ in pieces]) for pieces in parts])
    return [tuple(next(states) for _ in row) for row in rows]


def build_engine(options: EngineOptions, source: str, target: str) -> Translator:
    """Build an engine for translating from `source` to `target`; those that serve any pair are not told."""
    from crossflare.translation.engines import ENGINES, build

    if options.engine == "lab":
        from crossflare.lab.translator import LabTranslator

        return LabTranslator(**options.options)
    sides = {"source": source, "target": target}
    asked = {side: tag for side, tag in sides.items() if side in ENGINES[options.engine].options}
    own = {name: value for name, value in options.options.items() if name != "store"}
    if "model" in own:
        own["model"] = model_place(own["model"])
    return build({"engine": options.engine, **asked, **own})


def model_place(name: str) -> str:
    """Return where a model is: a laboratory's own folder, or the name as it is."""
    if not name.startswith("lab-"):
        return name
    from crossflare.lab.models import find

    return str(find(name))
