"""The rows that every step of an experiment reads: which texts, in which language, with which source."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from crossflare.disk.files import content_id
from crossflare.errors import UserError
from crossflare.experiment.data import controls
from crossflare.experiment.data.checks import Parts, check_rows, no_shared_rows, no_source
from crossflare.experiment.data.controls import controlled, joined_tag
from crossflare.experiment.data.engines import Taught
from crossflare.experiment.data.opening import open_set
from crossflare.experiment.data.translations import Translations
from crossflare.recipe.needs import Route, brings
from crossflare.recipe.spec import Spec
from crossflare.recipe.translation import annealing, gets_round_trip, is_translated, mixed_share
from crossflare.tasks.dataset import DataSet, Task
from crossflare.tasks.example import Split
from crossflare.translation.engines.protocol import engine_id
from crossflare.translation.projection.spans import Yield

Flagged = dict[str, dict[str, int]]
"""`to_target` or `to_source` -> the counts of flagged rows (see `controls.counted`)."""
VARYING = ("mixed(", "annealed(")
"""The prefixes of source names for which some rows have a round trip and some do not."""


@dataclass(frozen=True)
class CountedRows:
    """Rows, and counts about their translations."""

    split: Split
    flagged: Flagged
    """How many translations look wrong."""
    lost: Yield | None = None
    """How many translated questions kept their answer; None: no question was translated."""


def _beside(made: Split, own: Split, times: int) -> Split:
    """Return translated rows and a language's own rows, the latter `times` times; the ids show which they are."""
    again = (replace(row, id=f"native{turn}:{row.id}") for turn in range(1, times + 1) for row in own)
    return replace(made, examples=(*made.examples, *again))


class Data:
    """The splits of one recipe; texts are translated when they are first needed, and saved in the store."""

    def __init__(self, spec: Spec, folder: Path) -> None:
        self.spec = spec
        self.translations = Translations(spec, folder, self._taught)
        self.parts: Parts | None = None
        """The facts about the rows, after the check."""
        self._loaded: dict[tuple[str, ...], CountedRows] = {}

    @cached_property
    def set(self) -> DataSet:
        """The data set that the recipe names."""
        return open_set(self.spec)

    @property
    def fetched(self) -> bool:
        """Whether the set comes from the hub."""
        return self.spec.task.fetched

    def check(self) -> Parts:
        """Read every row that the recipe reads, once; see `check_rows`."""
        self.parts = check_rows(self.spec, self.set) if self.parts is None else self.parts
        return self.parts

    @property
    def task(self) -> Task:
        """The task of the data set."""
        return self.set.task

    def source_task(self, part: str) -> Split:
        """Return the rows of stage 1: texts in the source language."""
        return self.rows(self.spec.source, part)

    def size(self, language: str, part: str) -> int:
        """Return how many train or dev rows an adapter has; some translated rows may be left out later."""
        translation, own = self.spec.translation, self.native(language, part)
        if own is None:
            return len(self.source_task(part) if translation.translates else self.rows(language, part))
        if translation.to_target.engine == "none" or part == "dev":
            return len(own)
        return len(self.source_task(part)) + translation.native * len(own)

    def rows(self, language: str, part: str) -> Split:
        """Return the rows of a part as they are in the set, as many as the recipe takes."""
        return self._limited(self.set.split(language, part))

    def training(self, language: str, part: str, train_source: str, seed: int = 0) -> Split:
        """Return train or dev rows in `language` with a source.

        Args:
            language: A BCP-47 tag.
            part: `train` or `dev`.
            train_source: `original`: the labelled source text itself; `machine`: the target text translated back by
                the engine that also translates the test rows; `shuffled`: the source of another row; `target`: the
                target text; `none`: no source; `mixed(p)`: `machine` for a share p of the train rows and for all dev
                rows, `original` for the rest; `annealed(k)`: `machine`, and `original` as the train rows' clean source.
            seed: The seed of the run, which draws the rows of `mixed(p)`.
        """
        if train_source.startswith(VARYING):
            return self._mixed(language, part, train_source, seed)
        return self._training(language, part, train_source).split

    def joint(self, languages: Sequence[str], part: str, train_source: str, seed: int = 0) -> Split:
        """Return `training` rows of several languages, item by item; an item that lacks a language is left out.

        Raises:
            UserError: No item has rows in all of the languages.
        """
        if len(languages) == 1:
            return self.training(languages[0], part, train_source, seed)
        rows = {each: {e.id: e for e in self.training(each, part, train_source, seed)} for each in languages}
        shared = [name for name in rows[languages[0]] if all(name in rows[each] for each in languages)]
        if not shared:
            raise UserError(no_shared_rows(self.set, languages, part))
        items = [replace(rows[each][name], id=f"{each}:{name}") for name in shared for each in languages]
        return Split(part, joined_tag(languages), tuple(items))

    def translated(self, language: str, part: str, source: str) -> "CountedRows":
        """Return the rows of a part with a source, as `training` or `test` does, and counts about their translations.

        With `mixed(p)` and `annealed(k)`, all rows have the round trip here.
        """
        if part == "test":
            return self._tested(language, source)
        return self._training(language, part, "machine" if source.startswith(VARYING) else source)

    def dev_source(self, test_source: str) -> str:
        """Return the training source with which dev rows are most like test rows with `test_source`."""
        made = test_source == "machine" and not self.brings("machine")
        return test_source if made or test_source in ("shuffled", "target", "none") else "original"

    def dev(self, language: str, test_source: str) -> Split:
        """Return the dev rows, with a source made like that of the test rows if an engine can make it."""
        return self.training(language, "dev", self.dev_source(test_source))

    def test(self, language: str, test_source: str) -> Split:
        """Return the test rows in `language`, with the source that `MethodSpec.test_source` names."""
        return self._tested(language, test_source).split

    def identity(self, language: str, kind: str) -> Mapping[str, Any] | None:
        """Return the identity of the engine that made the source: for `machine` and `latents`; None for the rest."""
        if kind == "latents":
            stored = {"stored": "float16"} if self.translations.keeps_states else {}
            return {**self.translations.encoder(language).identity, "reads": "encoder states", **stored}
        engine = self.spec.translation.to_source
        if not is_translated(kind) or engine is None:
            return None
        if self.brings(kind):
            return {"engine": engine.engine, "from": self.set.name, "licence": "that of the data set"}
        return self.translations.engines.get("to_source", language).identity

    def brings(self, kind: str) -> bool:
        """Return whether the source of test rows is the set's own text, which no engine has to make."""
        return kind == "oracle" or (is_translated(kind) and brings(self.spec))

    def made_by(self, language: str, kind: str) -> str:
        """Return the source's part of a signature, such as an engine's id, `oracle`, `original` or `none`."""
        identity = self.identity(language, kind)
        made = kind if identity is None else f"{identity['engine']}-{engine_id(identity)}"
        return f"shuffled-{made}" if kind == "shuffled" else made

    def _tested(self, language: str, test_source: str) -> "CountedRows":
        key = ("test", language, test_source)
        if key not in self._loaded:
            made, flagged = self._test(language, "machine" if test_source == "shuffled" else test_source), Flagged()
            if is_translated(test_source):
                flagged["to_source"] = controls.counted(controls.to_source(made, self.spec.source))
            self._loaded[key] = CountedRows(controlled(made, test_source), flagged)
        return self._loaded[key]

    def _training(self, language: str, part: str, train_source: str) -> "CountedRows":
        key = (part, language, train_source)
        if key not in self._loaded:
            rows = self._checked(language, part, is_translated(train_source))
            self._loaded[key] = replace(rows, split=controlled(rows.split, train_source))
        return self._loaded[key]

    def _checked(self, language: str, part: str, back: bool) -> "CountedRows":
        """Return train or dev rows with counts of all flags; train rows with an unwanted flag are left out."""
        split, lost = self._into_target(language, part)
        unwanted, flagged = self.spec.translation.drop if part == "train" else (), Flagged()
        for route in ("to_target", "to_source") if back else ("to_target",):
            if route == "to_source":
                split = self.translations.back(split)
            found = (controls.to_target if route == "to_target" else controls.to_source)(split, self.spec.source)
            kept = controls.without(split, found, unwanted)
            flagged[route] = controls.counted(found, len(split) - len(kept))
            split = kept
        return CountedRows(split, flagged, lost)

    def _mixed(self, language: str, part: str, choice: str, seed: int) -> Split:
        """Return train rows with the round trip as source: a share of them, or all with the original as clean source.

        All dev rows have the round trip, like the test rows.
        """
        back = self.training(language, part, "machine")
        if part != "train":
            return back
        originals = {example.id: example.source for example in self.training(language, part, "original")}
        if annealing(choice) is not None:
            return replace(back, examples=tuple(replace(e, clean_source=originals[e.id]) for e in back))
        share = mixed_share(choice)
        rows = [e if gets_round_trip(e.id, seed, share) else e.with_source(originals[e.id]) for e in back]
        return replace(back, examples=tuple(rows))

    def _test(self, language: str, test_source: str) -> Split:
        split = self.set.split(language, "test")
        engine = self.spec.translation.to_source
        if test_source == "oracle" or (test_source == "machine" and engine is not None and engine.engine == "parallel"):
            split = self.set.parallel(language, "test", self.spec.source)
            if all(example.source is None for example in split):
                raise no_source(self.set, self.spec.source, language, "test", "an oracle source needs them")
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
        return self.translations.back(split) if test_source == "machine" else split

    def _into_target(self, language: str, part: str) -> tuple[Split, Yield | None]:
        translation = self.spec.translation
        if translation.to_target.engine == "none" or language == self.spec.source:
            return self.rows(language, part), None
        if translation.to_target.engine == "parallel":
            return self._limited(self.set.parallel(language, part, self.spec.source)), None
        own = self.native(language, part)
        if own is not None and part == "dev":
            return own, None
        made, lost = self.translations.into_target(self.source_task(part), language)
        return (made if own is None else _beside(made, own, translation.native)), lost

    def native(self, language: str, part: str) -> Split | None:
        """Return the target's own labelled rows if adapters learn from them; None if there are none."""
        translation = self.spec.translation
        there = translation.has_native and language != self.spec.source and part in self.set.parts(language)
        return self.rows(language, part) if there else None

    def _taught(self, route: Route, language: str) -> Taught:
        """Return the parallel rows that a dictionary learns from: never the rows that it will translate."""
        if route == "to_target" or self.spec.translation.to_target.engine == "none":
            rows = self._limited(self.set.parallel(language, "train", self.spec.source))
            return Taught(rows.digest, lambda: rows)
        return Taught(self._taught_id(language), lambda: self.training(language, "train", "original"))

    def _taught_id(self, language: str) -> str:
        """Return a content id of the training rows; if they are translations, it needs no translating."""
        engine = self.translations.identity_to_target(language)
        if engine is None:
            return self.training(language, "train", "original").digest
        return content_id([self.source_task("train").digest, engine, list(self.spec.translation.drop)])

    def _limited(self, split: Split) -> Split:
        rows = getattr(self.spec.task.limit, split.part)
        return split if rows is None else replace(split, examples=split.examples[:rows])
