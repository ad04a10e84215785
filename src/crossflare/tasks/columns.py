"""Examples made from the rows of a file, and examples with sources made from two aligned lists."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from crossflare.errors import UserError
from crossflare.tasks.example import Example, check_ids, check_partners, outline_of
from crossflare.tasks.files import Column, Row, format_of
from crossflare.tasks.kinds import TextTask
from crossflare.tasks.layout import FileLayout, rows_of
from crossflare.tasks.objects import class_names


def read_examples(
    path: Path | str | Sequence[Path], task: TextTask, layout: FileLayout | None = None
) -> tuple[Example, ...]:
    """Read the whole files of one language and part.

    Returns:
        One example per row, in the files' order.

    Raises:
        UserError: See `iterate_examples`; or an id that occurs twice.
    """
    layout = layout or FileLayout()
    examples = tuple(iterate_examples(path, task, layout))
    if layout.id is not None:
        check_ids(outline_of(examples))
    return examples


def iterate_examples(
    path: Path | str | Sequence[Path], task: TextTask, layout: FileLayout | None = None
) -> Iterator[Example]:
    """Yield the examples of one language and part; only one example is in memory at a time.

    Args:
        path: A file that `iterate_rows` takes, or several, whose rows follow each other.
        task: Gives the labels and the number of texts.
        layout: How the files are written, and which column holds what; by default `text` and `label`.

    Yields:
        One example per row. A row whose source cells are all null (JSONL, Parquet) has no source.

    Raises:
        UserError: See `rows_of`; or an unknown label, an id that is no text, or a wrong number of text columns.
    """
    layout = layout or FileLayout()
    paths = [Path(path)] if isinstance(path, Path | str) else list(path)
    for names in (layout.text_columns, layout.source_texts):
        if names and len(names) != task.text_count:
            raise UserError(
                f"{paths[0]}: task {task.name} takes {task.text_count} text(s), but {len(names)} column(s) are named:"
                f" {', '.join(map(str, names))}"
            )
    column = layout.named("label")
    of_file = {file: _names_of(file, layout.format, column) for file in paths}
    for number, (file, row) in enumerate(rows_of(paths, layout)):
        identity = str(number) if layout.id is None else identity_of(row, layout.id)
        texts = tuple(row.text(name) for name in layout.text_columns)
        label = task.label_index(_named(row.cell(column), of_file[file], task), row.origin)
        source = source_of(row, layout.source_texts) if layout.source_texts else None
        yield Example(identity, texts, label, source, row.origin)


def _names_of(path: Path, format: str | None, column: Column) -> tuple[str, ...]:
    """Return the names of a Parquet file's labels, where the column holds numbers and the file has the names."""
    is_parquet = (format or format_of(path)) == "parquet" and path.is_file()
    return class_names(path).get(str(column), ()) if is_parquet else ()


def _named(value: Any, names: Sequence[str], task: TextTask) -> Any:
    """Return the name that a file has for the number of a label, unless the task knows the number itself."""
    number = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(names)
    known = str(value) in task.labels or str(value) in task.aliases
    return names[value] if number and not known else value


def attach_sources(
    examples: Sequence[Example],
    other: Sequence[Example],
    by: Literal["id", "row"] = "id",
    advice: str = "",
    *,
    first_advice: str = "",
) -> tuple[Example, ...]:
    """Return `examples` with the texts of `other` as their source.

    Args:
        examples: Examples in the target language.
        other: The same items in the source language.
        by: `id`: items with the same id belong together, and `other` may hold more; `row`: equal places do.
        advice: What else a user can do about rows that do not correspond.
        first_advice: What to try first.

    Raises:
        UserError: They do not correspond; see `example.check_partners`.
    """
    check_partners(outline_of(examples), outline_of(other), by, advice, first_advice=first_advice)
    if by == "row":
        return tuple(item.with_source(partner.texts) for item, partner in zip(examples, other, strict=True))
    known = {item.id: item.texts for item in other}
    return tuple(item.with_source(known[item.id]) for item in examples)


def identity_of(row: Row, column: Column) -> str:
    """Return the id of a row, a text or a whole number; `UserError` for anything else."""
    value = row.cell(column)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    identity = row.text(column)
    if not identity:
        raise UserError(f"{row.origin}: the id in column '{column}' is empty; give each row one")
    return identity


def source_of(row: Row, names: Sequence[Column]) -> tuple[str, ...] | None:
    """Return the source texts of a row; None where all of its cells are null."""
    if all(row.cell(name) is None for name in names):
        return None
    return tuple(row.text(name) for name in names)
