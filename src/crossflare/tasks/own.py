"""A data set from the user's own files: texts with labels, or questions with their contexts."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from crossflare.errors import UserError, choose, listed
from crossflare.tasks.columns import iterate_examples, read_examples
from crossflare.tasks.dataset import PARTS, LanguageParts, Machine, Task
from crossflare.tasks.example import Example
from crossflare.tasks.hub import fetched, is_on_hub
from crossflare.tasks.kinds import Metric, QuestionMetric, QuestionTask, TextTask
from crossflare.tasks.layout import Align, FileLayout, FilePart, Given, files_of, is_pattern, paths_of
from crossflare.tasks.squad import read_questions

Files = Mapping[str, Mapping[str, Given]]
"""Language -> part (`train`, `dev`, `test`) -> its files."""
OWN_ADVICE = ", or say align: none where they are not translations of each other"


def own_set(
    name: str,
    files: Files,
    labels: Sequence[str],
    *,
    layout: FileLayout | None = None,
    aliases: Mapping[str, str] | None = None,
    align: Align | None = None,
    source_language: str = "en",
    main_metric: Metric = "accuracy",
    base: Path | str = ".",
) -> LanguageParts:
    """Make a data set from files.

    Args:
        name: Its name in reports.
        files: See `Files`; `tasks.files.Format` has the formats.
        labels: The label names, in the order of the model's outputs.
        layout: How the files are written and which column holds what; by default `text` and `label`. What a part of
            `files` itself declares has priority.
        aliases: Other spellings of labels.
        align: How languages correspond; by default by id when `layout` names an id column, else by row. `none`: the
            files are not parallel.
        source_language: The language of the source columns, if a layout names any.
        main_metric: The metric by which models are chosen.
        base: The folder where relative paths start.

    Raises:
        UserError: A part is unknown or a file is missing (at once, before any work); the contents of the files are
            checked when a part is first read.
    """
    layout = layout or FileLayout()
    counts = {len(each.text_columns) for _, each in _parts(name, files, layout, base).values()}
    if len(counts) != 1 or not counts <= {1, 2}:
        raise UserError(
            f"{name}: expected one or two text columns, as many in every part, got {listed(map(str, sorted(counts)))};"
            " name the columns to read"
        )
    count: Literal[1, 2] = 1 if counts == {1} else 2
    task = TextTask(name, 1, tuple(labels), dict(aliases or {}), text_count=count).chosen_by(main_metric)

    return set_of_files(task, files, layout, align=align, source_language=source_language, base=base)


def own_questions(
    name: str,
    files: Files,
    *,
    layout: FileLayout | None = None,
    align: Align | None = None,
    source_language: str = "en",
    main_metric: QuestionMetric = "f1",
    base: Path | str = ".",
) -> LanguageParts:
    """Make a set of questions from files; answers are compared by MLQA's rules for each language.

    Questions without an answer, which SQuAD 2.0 has among the others, are left out: see `LanguageParts`.

    Args:
        name: Its name in reports.
        files: See `Files`; JSON files in SQuAD's layout, or flat rows: see `read_questions`.
        layout: How files of flat rows are written and which column holds what.
        align: How languages correspond; by default by id. `none`: the files are not parallel.
        source_language: The language of the source columns, if a layout names any.
        main_metric: The metric by which models are chosen.
        base: The folder where relative paths start.

    Raises:
        UserError: A part is unknown or a file is missing (at once, before any work); the contents of the files are
            checked when a part is first read.
    """
    task = QuestionTask(name, 1, main_metric=main_metric)
    return set_of_files(task, files, layout, align=align, source_language=source_language, base=base)


def set_of_files(
    task: Task,
    files: Files,
    layout: FileLayout | None = None,
    *,
    align: Align | None = None,
    source_language: str = "en",
    base: Path | str = ".",
    machine: Machine | None = None,
    own: bool = True,
) -> LanguageParts:
    """Make a data set from files for a given task; see `own_set` and `own_questions`.

    Args:
        task: Labels or questions.
        files: See `Files`.
        layout: How the files are written and which column holds what.
        align: How languages correspond.
        source_language: The language of the source columns, if a layout names any.
        base: The folder where relative paths start.
        machine: Reads shipped machine translations; see `LanguageParts`.
        own: Whether the user chooses `align`, so that messages may advise about it.
    """
    found = _parts(task.name, files, layout or FileLayout(), base)
    parts = {language: tuple(given) for language, given in files.items()}
    beside = {key for key, (_, each) in found.items() if each.source_texts}
    asks = isinstance(task, QuestionTask)

    def read(language: str, part: str) -> tuple[Example, ...]:
        paths, each = found[language, part]
        if isinstance(task, QuestionTask):
            return read_questions(fetched(paths), each)
        return read_examples(fetched(paths), task, each)

    def iterate(language: str, part: str) -> Iterator[Example]:
        assert isinstance(task, TextTask)
        paths, each = found[language, part]
        return iterate_examples(fetched(paths), task, each)

    numbered = not asks and any(each.id is None for _, each in found.values())
    return LanguageParts(
        task.name,
        task,
        parts,
        read,
        align=align or ("row" if numbered else "id"),
        machine=machine,
        iterate=None if asks else iterate,
        beside={source_language: beside},
        advice=OWN_ADVICE if own else "",
    )


def _parts(
    name: str, files: Files, layout: FileLayout, base: Path | str
) -> dict[tuple[str, str], tuple[list[Path], FileLayout]]:
    """Return the files of each part, and their layout."""
    if not files:
        raise UserError(f"{name}: expected files for at least one language; give language -> part -> path")
    found: dict[tuple[str, str], tuple[list[Path], FileLayout]] = {}
    for language, parts in files.items():
        for part, given in parts.items():
            choose(f"part of {name}", part, PARTS)
            own = given.over(layout) if isinstance(given, FilePart) else layout
            for option, mistake in own.mistakes():
                raise UserError(f"{name}: {option} of the {part} part of '{language}': {mistake}")
            paths = [
                path
                for each in paths_of(given)
                for path in _files(each if is_on_hub(each) else Path(base) / each, language, part, name)
            ]
            if not paths:
                raise UserError(f"{name}: expected a path for the {part} part of '{language}', got none; name a file")
            found[language, part] = paths, own
    return found


def _files(path: Path, language: str, part: str, name: str) -> list[Path]:
    found = [path] if is_on_hub(path) else files_of(path)
    if not found:
        advice = "check the pattern" if is_pattern(path) else "check the path"
        raise UserError(f"{path}: the {part} file of '{language}' in {name} is missing; {advice}")
    return found
