"""The rows that every step of an experiment reads: which texts, in which language, with which source beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from crossflare.errors import UserError
from crossflare.experiment.spec import EngineOptions, Spec
from crossflare.files import content_id
from crossflare.tasks.dataset import DataSet, Task
from crossflare.tasks.example import Example, Split
from crossflare.translation.store import Store, translate_all
from crossflare.translation.translator import Translator, engine_id

Route = Literal["to_target", "to_source", "latents", "answers"]
SEED_OF_SHUFFLING = 0
SEED_OF_DEV = 0
"""The dev rows are cut alike for every seed of an experiment: their scores are compared."""


class Data:
    """The splits of one recipe; texts are translated when they are first needed, and kept in the store."""

    def __init__(self, spec: Spec, translations: Path) -> None:
        self.spec = spec
        self.translations = translations
        self._engines: dict[tuple[Route, str], Translator] = {}
        self._splits: dict[tuple[str, ...], Split] = {}

    @cached_property
    def set(self) -> DataSet:
        """The data set that the recipe names."""
        return open_set(self.spec)

    @property
    def task(self) -> Task:
        """Its task."""
        return self.set.task

    def source_task(self, part: str) -> Split:
        """Return the rows of stage 1: source-language texts."""
        return self._limited(self.set.split(self.spec.source, part))

    def training(self, language: str, part: str, train_source: str) -> Split:
        """Return train or dev rows in `language` with a source.

        Args:
            language: BCP-47 tag.
            part: `train` or `dev`.
            train_source: `original`: the labelled source text itself; `machine`: the target text translated back by
                the engine that also translates the test rows; `shuffled`: that of another row; `none`: no source.
        """
        key = ("training", language, part, train_source)
        if key not in self._splits:
            split = self._into_target(language, part)
            if train_source in ("machine", "shuffled"):
                split = self._translated_back(split, f"{part}")
            self._splits[key] = _controlled(split, train_source)
        return self._splits[key]

    def test(self, language: str, test_source: str) -> Split:
        """Return the test rows in `language`, with a source as `MethodSpec.test_source` names it."""
        key = ("test", language, test_source)
        if key not in self._splits:
            made = self._test(language, "machine" if test_source == "shuffled" else test_source)
            self._splits[key] = _controlled(made, test_source)
        return self._splits[key]

    def answers_back(self, answers: Sequence[str], language: str) -> list[str]:
        """Return answers in the source language, translated into `language`."""
        engine = self._translator("answers", language)
        store = Store(self.translations)
        return list(translate_all(store, engine, list(answers), source=self.spec.source, target=language))

    def latents(self, split: Split) -> list[tuple[Any, ...]]:
        """Return the translation encoder's states [S,d_mt] for each text of each row."""
        return encode_rows(self.encoder(split.language), [example.texts for example in split], split.language)

    def encoder(self, language: str) -> Any:
        """Return the engine whose encoder reads the target text for FLARE MT."""
        return self._translator("latents", language)

    def identity(self, language: str, kind: str) -> Mapping[str, Any] | None:
        """Return who made the source: an engine's identity for `machine` and `latents`; None for the rest."""
        if kind == "latents":
            return {**self.encoder(language).identity, "reads": "encoder states"}
        engine = self.spec.translation.to_source
        if kind not in ("machine", "shuffled") or engine is None:
            return None
        if self.brings(kind):
            return {"engine": engine.engine, "from": self.set.name, "licence": "that of the data set"}
        return self._translator("to_source", language).identity

    def brings(self, kind: str) -> bool:
        """Whether the source of test rows is text of the set's own, so that nobody has to make it."""
        engine = self.spec.translation.to_source
        own = engine is not None and engine.engine in ("precomputed", "parallel") and not engine.options
        return kind == "oracle" or (kind in ("machine", "shuffled") and own)

    def identity_to_target(self, language: str) -> dict[str, Any] | None:
        """Return who translated the training rows; None for the set's own parallel text."""
        if self.spec.translation.to_target.engine == "parallel":
            return None
        return dict(self._translator("to_target", language).identity)

    def made_by(self, language: str, kind: str) -> str:
        """Return the source's part of a signature: an engine's id, `oracle`, `original` or `none`."""
        identity = self.identity(language, kind)
        made = kind if identity is None else f"{identity['engine']}-{engine_id(identity)}"
        return f"shuffled-{made}" if kind == "shuffled" else made

    def _test(self, language: str, test_source: str) -> Split:
        split = self.set.split(language, "test")
        engine = self.spec.translation.to_source
        if test_source == "oracle" or (test_source == "machine" and engine is not None and engine.engine == "parallel"):
            split = self.set.parallel(language, "test", self.spec.source)
            if all(example.source is None for example in split):
                raise UserError(
                    f"{self.set.name} has no test rows of its own in '{self.spec.source}' beside '{language}'; "
                    "an oracle source needs them"
                )
            return self._limited(split)
        if test_source == "machine" and engine is not None and engine.engine == "precomputed" and not engine.options:
            texts = self.set.machine_source(language, "test", self.spec.source)
            if texts is None:
                raise UserError(
                    f"{self.set.name} comes with no translation of '{language}' test rows into '{self.spec.source}'; "
                    "name another engine in translation.to_source"
                )
            rows = tuple(example.with_source(text) for example, text in zip(split, texts, strict=True))
            return self._limited(replace(split, examples=rows))
        split = self._limited(split)
        return self._translated_back(split, "test") if test_source == "machine" else split

    def _into_target(self, language: str, part: str) -> Split:
        if self.spec.translation.to_target.engine == "parallel":
            return self._limited(self.set.parallel(language, part, self.spec.source))
        split = self.source_task(part)
        engine = self._translator("to_target", language)
        texts = self._translate(engine, [e.texts for e in split], self.spec.source, language)
        rows = [replace(e, texts=text, source=e.texts) for e, text in zip(split, texts, strict=True)]
        return Split(part, language, tuple(rows))

    def _translated_back(self, split: Split, part: str) -> Split:
        engine = self._translator("to_source", split.language)
        texts = self._translate(engine, [e.texts for e in split], split.language, self.spec.source)
        rows = tuple(example.with_source(text) for example, text in zip(split, texts, strict=True))
        return replace(split, examples=rows)

    def _translate(
        self, engine: Translator, texts: list[tuple[str, ...]], source: str, target: str
    ) -> list[tuple[str, ...]]:
        """Translate every text of every row once; rows keep their shape."""
        flat = [text for row in texts for text in row]
        done = iter(translate_all(Store(self.translations), engine, flat, source=source, target=target))
        return [tuple(next(done) for _ in row) for row in texts]

    def _translator(self, route: Route, language: str) -> Translator:
        if (route, language) not in self._engines:
            options: EngineOptions | None = getattr(self.spec.translation, route)
            if options is None:
                raise UserError(f"translation.{route} is missing in the recipe; add {{engine: ...}}")
            self._engines[route, language] = self._build(options, route, language)
        return self._engines[route, language]

    def _build(self, options: EngineOptions, route: Route, language: str) -> Translator:
        from crossflare.translation.dictionary import Dictionary
        from crossflare.translation.lexicon import Lexicon, learn

        if options.engine == "parallel":
            raise UserError(
                f"translation.{route}: the set's own parallel text cannot translate new rows ('machine' sources for "
                "training rows); name an engine"
            )
        taught = options.options.get("learn")
        if taught is None:
            there = route in ("to_target", "answers")
            return build_engine(options, *((self.spec.source, language) if there else (language, self.spec.source)))
        given = sorted({"lexicon", "source_file", "target_file", "pairs_file"} & options.options.keys())
        if given:
            raise UserError(
                f"translation.{route}: learn: {taught} stands beside {', '.join(given)}; "
                "a dictionary is learnt or given: leave one out"
            )
        if taught == "set":
            if self.spec.task.set != "phrasebook":
                raise UserError(f"{self.set.name} brings no lexicon of its own; use learn: train or lexicon: FILE")
            from crossflare.tasks.phrasebook import lexicon

            return Dictionary({(language, self.spec.source): Lexicon(lexicon(language))})
        if route == "to_target":  # what it is to make cannot teach it
            known = self._limited(self.set.parallel(language, "train", self.spec.source))
        else:
            known = self.training(language, "train", "original")
        pairs = [
            (target, source)
            for example in known
            if example.source is not None
            for target, source in zip(example.texts, example.source, strict=True)
        ]
        rest = {name: value for name, value in options.options.items() if name in ("iterations", "minimum")}
        licence = {name: value for name, value in options.options.items() if name == "licence"}
        if route == "to_target":
            return Dictionary({(self.spec.source, language): learn([(s, t) for t, s in pairs], **rest)}, **licence)
        return Dictionary({(language, self.spec.source): learn(pairs, **rest)}, **licence)

    def _limited(self, split: Split) -> Split:
        rows = getattr(self.spec.task.limit, split.part)
        return split if rows is None else replace(split, examples=split.examples[:rows])


def _controlled(split: Split, source: str) -> Split:
    """Return the rows as they are, with no source, or each with that of another row, drawn once for all seeds."""
    if source == "none":
        return replace(split, examples=tuple(example.with_source(None) for example in split))
    if source != "shuffled":
        return split
    order = np.random.default_rng(SEED_OF_SHUFFLING).permutation(len(split))
    following = dict(zip(order.tolist(), np.roll(order, 1).tolist(), strict=True))  # one cycle: nobody keeps its own
    rows = split.examples
    return replace(split, examples=tuple(row.with_source(rows[following[i]].source) for i, row in enumerate(rows)))


def encode_rows(engine: Any, rows: Sequence[tuple[str, ...]], language: str) -> list[tuple[Any, ...]]:
    """Return a translation encoder's states [S,d_mt] for each text of each row."""
    states = iter(engine.encode([text for row in rows for text in row], language))
    return [tuple(next(states) for _ in row) for row in rows]


def build_engine(options: EngineOptions, source: str, target: str) -> Translator:
    """Build an engine for translating from `source` to `target`; those that serve any pair are not told."""
    from crossflare.translation.engines import ENGINES, build

    if options.engine == "lab":
        from crossflare.lab.translator import LabTranslator

        return LabTranslator(**options.options)
    sides = {"source": source, "target": target}
    asked = {side: tag for side, tag in sides.items() if side in ENGINES[options.engine].options}
    own = dict(options.options)
    if "model" in own:
        own["model"] = model_place(own["model"])
    return build({"engine": options.engine, **asked, **own})


def model_place(name: str) -> str:
    """Return where a model is: a laboratory's own folder, or the name as it is."""
    if not name.startswith("lab-"):
        return name
    from crossflare.lab.models import find

    return str(find(name))


def open_set(spec: Spec) -> DataSet:
    """Open the recipe's data: a named set or the user's own files; cut dev from train if it says so."""
    from crossflare.tasks.cutting import with_dev
    from crossflare.tasks.own import own_questions, own_set
    from crossflare.tasks.reading import Columns
    from crossflare.tasks.sets import load_set

    task = spec.task
    if task.set == "phrasebook":
        from crossflare.tasks.phrasebook import phrasebook

        limit = task.limit
        data: DataSet = phrasebook(0, **{part: n for part in ("train", "dev", "test") if (n := getattr(limit, part))})
    elif task.set is not None and task.set.startswith("lab-"):
        from crossflare.lab.sets import load

        limit = task.limit
        data = load(task.set, **{part: n for part in ("train", "dev", "test") if (n := getattr(limit, part))})
    elif task.set is not None:
        data = load_set(task.set, task.folder)
    elif task.questions:
        files = {language: {str(part): path for part, path in given.items()} for language, given in task.files.items()}
        data = own_questions(spec.name, files, source_language=spec.source)
    else:
        columns = Columns(
            texts=task.texts, label=task.label or "label", id=task.id, source_texts=task.source_texts or None
        )
        files = {language: {str(part): path for part, path in given.items()} for language, given in task.files.items()}
        data = own_set(
            spec.name, files, task.labels, columns=columns, aliases=task.aliases, source_language=spec.source
        )
    return with_dev(data, task.dev_from_train, SEED_OF_DEV) if task.dev_from_train else data


def digest(*splits: Split) -> str:
    """Return one content id for several splits."""
    return content_id([split.digest for split in splits])


def counts(examples: tuple[Example, ...]) -> dict[str, int]:
    """Return how many rows have an empty text, and how many no source."""
    return {
        "empty": sum(any(not text.strip() for text in e.texts) for e in examples),
        "no_source": sum(e.source is None for e in examples),
    }
