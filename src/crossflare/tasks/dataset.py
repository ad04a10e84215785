"""What a data set offers to later stages, and the one implementation that all sets share."""

import copy
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Literal, Protocol, runtime_checkable

from crossflare.errors import UserError, choose
from crossflare.languages import tag_of
from crossflare.tasks.columns import attach_sources
from crossflare.tasks.example import NATIVE, Example, Outline, Split, check_ids, check_partners, outline_of
from crossflare.tasks.kinds import QuestionTask, TextTask

PARTS = ("train", "dev", "test")

Task = TextTask | QuestionTask

Align = Literal["id", "row", "none"]
"""How the rows of two languages correspond: by their ids, by their places, or not at all."""

Reader = Callable[[str, str], Sequence[Example]]
"""(language, part) -> examples."""
Machine = Callable[[str, str, str], Sequence[Example] | None]
"""(language, part, source) -> machine translations into the source language that the set ships; None: it ships none."""


@runtime_checkable
class DataSet(Protocol):
    """The same task in several languages; any tag or name of a language finds it."""

    @property
    def name(self) -> str:
        """The set's name in recipes and in signatures of numbers."""
        ...

    @property
    def task(self) -> Task:
        """Labels, number of texts, metrics."""
        ...

    @property
    def languages(self) -> tuple[str, ...]:
        """BCP-47 tags, sorted."""
        ...

    def parts(self, language: str) -> tuple[str, ...]:
        """Return which of train, dev and test the language has."""
        ...

    def split(self, language: str, part: str) -> Split:
        """Return the examples of one part in one language, without sources unless the set's own files give them."""
        ...

    def parallel(self, language: str, part: str, source: str) -> Split:
        """Return the examples with the set's own parallel text in language `source` as their source.

        Where people wrote the texts of `source`, this is the oracle: translation without errors. `source` is
        None in every example when the set has no such part in that language.
        """
        ...

    def machine_source(self, language: str, part: str, source: str = "en") -> list[tuple[str, ...]] | None:
        """Return machine translations into `source` that the set ships, row by row; None when it ships none."""
        ...


def outline(data: DataSet, language: str, part: str, source: str | None = None) -> Outline:
    """Return what is known about a part without its texts; the part is read row by row where its files allow it.

    Args:
        data: The set.
        language: BCP-47 tag.
        part: `train`, `dev` or `test`.
        source: The rows are paired with those of this language as `DataSet.parallel` does; None: they are not paired.

    Raises:
        UserError: For the same reasons as reading the part, and pairing it.
    """
    if isinstance(data, LanguageParts):
        return data.outline(language, part, source)
    split = data.split(language, part) if source is None else data.parallel(language, part, source)
    return outline_of(split.examples)


def left_out(data: DataSet, language: str, part: str) -> int:
    """Return how many questions of a part are left out because they have no answer."""
    return data.left_out(language, part) if isinstance(data, LanguageParts) else 0


def iterate_part(data: DataSet, language: str, part: str) -> Iterable[Example]:
    """Return the rows of a part, read one by one where its files allow it and they are not in memory already."""
    return data.iterate(language, part) if isinstance(data, LanguageParts) else data.split(language, part)


def aligned_by(data: DataSet) -> Align:
    """Return how the languages of a set correspond."""
    return getattr(data, "align", "none")


def own_names(name: str, languages: Iterable[str]) -> dict[str, str]:
    """Return tag -> the set's name of the language.

    Raises:
        UserError: Two of its names mean the same language.
    """
    found: dict[str, str] = {}
    for own in languages:
        first = found.setdefault(tag_of(own), own)
        if first != own:
            raise UserError(f"{name}: '{first}' and '{own}' are the same language ({tag_of(own)}); give it once")
    return found


def _first_advice(part: str) -> str:
    return "" if part == "test" else NATIVE


class LanguageParts:
    """A `DataSet` over a function that reads one part in one language; every part is read once.

    Args:
        name: The set's name.
        task: The task.
        parts: Which parts each language has.
        read: Reads one of these parts; it gets the language's name as `parts` has it.
        align: How languages correspond: by example id, by row, or not at all.
        machine: Reads shipped machine translations; None: there are none.
        iterate: Yields what `read` returns, one row at a time; None: rows can only be read all at once.
        beside: Source language -> (language, part) of the rows that hold the source text themselves; it is preferred to
            another language's file.
        advice: What else a user can do about files that do not correspond.
    """

    def __init__(
        self,
        name: str,
        task: Task,
        parts: Mapping[str, Sequence[str]],
        read: Reader,
        *,
        align: Align = "id",
        machine: Machine | None = None,
        iterate: Callable[[str, str], Iterable[Example]] | None = None,
        beside: Mapping[str, Collection[tuple[str, str]]] | None = None,
        advice: str = "",
    ) -> None:
        self.name = name
        self.task: Task = task
        self._own = own_names(name, parts)
        self._parts = {tag: tuple(p for p in PARTS if p in set(parts[own])) for tag, own in self._own.items()}
        self.languages = tuple(sorted(self._own))
        self._read = read
        self.align: Align = align
        self._machine = machine
        self._iterate = iterate
        self._beside = {
            (tag_of(language), part, tag_of(source))
            for source, parts in (beside or {}).items()
            for language, part in parts
        }
        self._advice = advice
        self._cache: dict[tuple[str, str], Split] = {}
        self._left_out: dict[tuple[str, str], int] = {}

    def chosen_by(self, metric: str) -> "LanguageParts":
        """Return the set with another main metric."""
        other = copy.copy(self)
        other.task = self.task.chosen_by(metric)
        return other

    def left_out(self, language: str, part: str) -> int:
        """Return how many questions of a part have no answer where others have."""
        if isinstance(self.task, TextTask):
            return 0  # without reading a whole file
        self.split(language, part)
        return self._left_out[self._key(language, part)]

    def parts(self, language: str) -> tuple[str, ...]:
        """Return which of train, dev and test the language has; `UserError` when the set lacks the language."""
        return self._parts[choose(f"language of {self.name}", tag_of(language), self.languages)]

    def split(self, language: str, part: str) -> Split:
        """Return one part in one language; for questions, only those with an answer if any has one.

        Raises:
            UserError: The set lacks it.
        """
        key = self._key(language, part)
        if key not in self._cache:
            rows = tuple(self._read(self._own[key[0]], part))
            answered = tuple(row for row in rows if row.answers) or rows
            self._cache[key] = Split(part, key[0], answered)
            self._left_out[key] = len(rows) - len(answered)
        return self._cache[key]

    def _key(self, language: str, part: str) -> tuple[str, str]:
        if choose("part", part, PARTS) not in self.parts(language):
            has = ", ".join(self.parts(language))
            raise UserError(f"{self.name} has no {part} part in '{language}'; it has: {has}")
        return tag_of(language), part

    def iterate(self, language: str, part: str) -> Iterable[Example]:
        """Return the rows of a part; see `iterate_part`."""
        key, iterate = self._key(language, part), self._iterate
        if iterate is None or key in self._cache:
            return self.split(language, part)
        return iterate(self._own[key[0]], part)

    def outline(self, language: str, part: str, source: str | None = None) -> Outline:
        """Return what is known about a part without its texts; see `dataset.outline`."""
        key = self._key(language, part)
        made = Outline.of(lambda: self.iterate(language, part))
        if self._iterate is not None and key not in self._cache:
            check_ids(made)
        return made if source is None else self._paired(made, key, source)

    def has_sources(self, language: str, part: str, source: str) -> bool:
        """Whether the rows of a part have the set's own text in `source`, as far as is known without reading them."""
        known = tag_of(source) in self.languages and part in self.parts(source)
        return self._has_beside(language, part, source) or (self.align != "none" and known)

    def _has_beside(self, language: str, part: str, source: str) -> bool:
        return (tag_of(language), part, tag_of(source)) in self._beside

    def _paired(self, rows: Outline, key: tuple[str, str], source: str) -> Outline:
        _, part = key
        if self._has_beside(*key, source):
            return rows
        if self.align == "none" or part not in self.parts(source):
            return rows.with_sources(False)
        check_partners(rows, self.outline(source, part), self.align, self._advice, first_advice=_first_advice(part))
        return rows.with_sources(True)

    def parallel(self, language: str, part: str, source: str) -> Split:
        """Return one part with its parallel text in `source`; see `DataSet.parallel`."""
        target = self.split(language, part)
        if self._has_beside(language, part, source):
            return target
        if self.align == "none" or part not in self.parts(source):
            return replace(target, examples=tuple(example.with_source(None) for example in target))
        others = self.split(source, part).examples
        paired = attach_sources(target.examples, others, self.align, self._advice, first_advice=_first_advice(part))
        return replace(target, examples=paired)

    def machine_source(self, language: str, part: str, source: str = "en") -> list[tuple[str, ...]] | None:
        """Return shipped machine translations, row by row; see `DataSet.machine_source`."""
        target = self.split(language, part)
        own, into = self._own[target.language], self._own.get(tag_of(source), tag_of(source))
        shipped = None if self._machine is None else self._machine(own, part, into)
        if shipped is None:
            return None
        return [example.source or () for example in attach_sources(target.examples, shipped, "row")]
