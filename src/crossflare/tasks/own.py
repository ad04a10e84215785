"""A data set from the user's own files: texts with labels, or questions with their contexts."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from crossflare.errors import UserError, choose
from crossflare.languages import tag_of
from crossflare.tasks.columns import Columns, iterate_examples, read_examples
from crossflare.tasks.dataset import PARTS, LanguageParts, Reader, Task
from crossflare.tasks.example import Example, Split
from crossflare.tasks.kinds import QuestionTask, TextTask
from crossflare.tasks.outline import Outline
from crossflare.tasks.squad import QuestionColumns, read_questions

Files = Mapping[str, Mapping[str, Path | str]]
"""Language -> part (`train`, `dev`, `test`) -> path."""


def own_set(
    name: str,
    files: Files,
    labels: Sequence[str],
    *,
    columns: Columns | None = None,
    aliases: Mapping[str, str] | None = None,
    align: Literal["id", "row", "none"] | None = None,
    source_language: str = "en",
    quotes: bool | None = None,
    base: Path | str = ".",
) -> LanguageParts:
    """Make a data set from files.

    Args:
        name: Its name in reports.
        files: Language -> part (`train`, `dev`, `test`) -> path of a CSV, TSV, JSONL or Parquet file.
        labels: The label names, in the order of the model's outputs.
        columns: Which column holds what, the same in every file; by default `text` and `label`.
        aliases: Other spellings of labels.
        align: How languages correspond; by default by id when `columns` names an id column, else by row. `none`: the
            files are not parallel.
        source_language: The language of the source columns, if `columns` names any.
        quotes: Whether the cells of TSV files are quoted, as those of CSV always are; None: as each file shows.
        base: Relative paths start here.

    Raises:
        UserError: A part is unknown or a file is missing (at once, before any work); what the files hold is checked
            when a part is first read.
    """
    columns = columns or Columns()
    if len(columns.texts) not in (1, 2):
        raise UserError(f"{name}: expected one or two text columns, got {len(columns.texts)}; name the columns to read")
    count: Literal[1, 2] = 1 if len(columns.texts) == 1 else 2
    task = TextTask(name, 1, tuple(labels), dict(aliases or {}), text_count=count)
    paths = _paths(name, files, base)

    def read(language: str, part: str) -> tuple[Example, ...]:
        return read_examples(paths[language, part], task, columns, quotes=quotes)

    def iterate(language: str, part: str) -> Iterator[Example]:
        return iterate_examples(paths[language, part], task, columns, quotes=quotes)

    parts = {language: tuple(given) for language, given in files.items()}
    by = align or ("row" if columns.id is None else "id")
    given = source_language if columns.source_texts else None
    return _OwnSet(name, task, parts, read, align=by, given=given, iterate=iterate)


def own_questions(
    name: str,
    files: Files,
    *,
    columns: QuestionColumns | None = None,
    align: Literal["id", "row", "none"] = "none",
    source_language: str = "en",
    quotes: bool | None = None,
    base: Path | str = ".",
) -> LanguageParts:
    """Make a set of questions from files; answers are compared by MLQA's rules for each language.

    Questions without an answer, as SQuAD 2.0 has them beside others, are left out: see `left_out`.

    Args:
        name: Its name in reports.
        files: Language -> part -> path of a JSON file in SQuAD's layout, or of flat rows: see `read_questions`.
        columns: Names of the columns of flat rows, the same in every file.
        align: How languages correspond: by id or row where the files are translations of each other.
        source_language: The language of the source columns, if `columns` names any.
        quotes: See `own_set`.
        base: Relative paths start here.

    Raises:
        UserError: A part is unknown or a file is missing (at once, before any work); what the files hold is checked
            when a part is first read.
    """
    paths = _paths(name, files, base)
    given = source_language if columns is not None and columns.source_texts else None
    task = QuestionTask(name, 1)
    parts = {language: tuple(present) for language, present in files.items()}

    def read(language: str, part: str) -> tuple[Example, ...]:
        return read_questions(paths[language, part], columns, quotes)

    return _OwnQuestions(name, task, parts, read, align=align, given=given)


def _paths(name: str, files: Files, base: Path | str) -> dict[tuple[str, str], Path]:
    if not files:
        raise UserError(f"{name}: expected files for at least one language; give language -> part -> path")
    paths = {
        (language, choose(f"part of {name}", part, PARTS)): Path(base) / path
        for language, given in files.items()
        for part, path in given.items()
    }
    for (language, part), path in paths.items():
        if not path.is_file():
            raise UserError(f"{path}: the {part} file of '{language}' in {name} is missing; check the path")
    return paths


class _OwnSet(LanguageParts):
    """Its files may hold the source text beside each text; that comes before another language's file."""

    def __init__(
        self,
        name: str,
        task: Task,
        parts: Mapping[str, Sequence[str]],
        read: Reader,
        *,
        align: Literal["id", "row", "none"],
        given: str | None,
        iterate: Callable[[str, str], Iterable[Example]] | None = None,
    ) -> None:
        super().__init__(name, task, parts, read, align=align, iterate=iterate)
        self._given = given and tag_of(given)

    def parallel(self, language: str, part: str, source: str) -> Split:
        return self.split(language, part) if tag_of(source) == self._given else super().parallel(language, part, source)

    _advice = ", or say align: none where they are not translations of each other"

    def _paired(self, rows: Outline, part: str, source: str) -> Outline:
        return rows if tag_of(source) == self._given else super()._paired(rows, part, source)


class _OwnQuestions(_OwnSet):
    """Of a file that has answers, the questions that have one."""

    def split(self, language: str, part: str) -> Split:
        whole = super().split(language, part)
        answered = tuple(example for example in whole if example.answers)
        return replace(whole, examples=answered) if answered else whole

    def left_out(self, language: str, part: str) -> int:
        """Return how many questions of a part have no answer where others have."""
        return len(super().split(language, part)) - len(self.split(language, part))
