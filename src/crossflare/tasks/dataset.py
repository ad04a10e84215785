"""What a data set offers to the later stages, and the one implementation that all sets share."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Literal, Protocol, runtime_checkable

from crossflare.errors import UserError, choose
from crossflare.languages import tag_of
from crossflare.tasks.classification import TextTask
from crossflare.tasks.example import Example, Split
from crossflare.tasks.questions import QuestionTask
from crossflare.tasks.reading import attach_sources

PARTS = ("train", "dev", "test")

Task = TextTask | QuestionTask

Reader = Callable[[str, str], Sequence[Example]]
"""(language, part) -> examples."""


@runtime_checkable
class DataSet(Protocol):
    """The same task in several languages, each of which may be asked for by any tag or name of it."""

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
        """Which of train, dev and test the language has."""
        ...

    def split(self, language: str, part: str) -> Split:
        """Return the examples of one part in one language, without sources unless the set's own files give them."""
        ...

    def parallel(self, language: str, part: str, source: str) -> Split:
        """Return the examples with the set's own parallel text in language `source` as their source.

        Where the texts of `source` were made by people this is the oracle: translation without errors. `source` is
        None in every example when the set has no such part in that language.
        """
        ...

    def machine_source(self, language: str, part: str, source: str = "en") -> list[tuple[str, ...]] | None:
        """Return machine translations into `source` that the set ships, row by row; None when it ships none."""
        ...


def own_names(name: str, languages: Iterable[str]) -> dict[str, str]:
    """Return tag -> what a set calls the language.

    Raises:
        UserError: Two of its names mean the same language.
    """
    found: dict[str, str] = {}
    for own in languages:
        first = found.setdefault(tag_of(own), own)
        if first != own:
            raise UserError(f"{name}: '{first}' and '{own}' are the same language ({tag_of(own)}); give it once")
    return found


class LanguageParts:
    """A `DataSet` over a function that reads one part in one language; every part is read once.

    Args:
        name: The set's name.
        task: The task.
        parts: Which parts each language has.
        read: Reads one of them, of a language by the name that `parts` has for it.
        align: How languages correspond: by example id, by row, or not at all.
        machine: Reads shipped machine translations as (language, part, source) -> examples, or None where there
            are none.
    """

    def __init__(
        self,
        name: str,
        task: Task,
        parts: Mapping[str, Sequence[str]],
        read: Reader,
        *,
        align: Literal["id", "row", "none"] = "id",
        machine: Callable[[str, str, str], Sequence[Example] | None] | None = None,
    ) -> None:
        self.name = name
        self.task: Task = task
        self._own = own_names(name, parts)
        self._parts = {tag: tuple(p for p in PARTS if p in set(parts[own])) for tag, own in self._own.items()}
        self.languages = tuple(sorted(self._own))
        self._read = read
        self._align: Literal["id", "row", "none"] = align
        self._machine = machine
        self._cache: dict[tuple[str, str], Split] = {}

    def parts(self, language: str) -> tuple[str, ...]:
        """Which of train, dev and test the language has; `UserError` when the set lacks the language."""
        return self._parts[choose(f"language of {self.name}", tag_of(language), self.languages)]

    def split(self, language: str, part: str) -> Split:
        """Return one part in one language; `UserError` when the set lacks it."""
        if choose("part", part, PARTS) not in self.parts(language):
            has = ", ".join(self.parts(language))
            raise UserError(f"{self.name} has no {part} part in '{language}'; it has: {has}")
        key = (tag_of(language), part)
        if key not in self._cache:
            self._cache[key] = Split(part, key[0], tuple(self._read(self._own[key[0]], part)))
        return self._cache[key]

    def parallel(self, language: str, part: str, source: str) -> Split:
        """Return one part with its parallel text in `source`; see `DataSet.parallel`."""
        target = self.split(language, part)
        if self._align == "none" or part not in self.parts(source):
            return replace(target, examples=tuple(example.with_source(None) for example in target))
        return replace(target, examples=attach_sources(target.examples, self.split(source, part).examples, self._align))

    def machine_source(self, language: str, part: str, source: str = "en") -> list[tuple[str, ...]] | None:
        """Return shipped machine translations, row by row; see `DataSet.machine_source`."""
        target = self.split(language, part)
        own, into = self._own[target.language], self._own.get(tag_of(source), tag_of(source))
        shipped = None if self._machine is None else self._machine(own, part, into)
        if shipped is None:
            return None
        return [example.source or () for example in attach_sources(target.examples, shipped, "row")]
