"""From the rows of a file to examples, and from two aligned lists of examples to examples with sources."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from crossflare.errors import UserError
from crossflare.tasks.example import Example
from crossflare.tasks.files import Row, iterate_rows
from crossflare.tasks.kinds import TextTask
from crossflare.tasks.outline import check_ids, check_partners, outline_of


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column of a file holds what."""

    texts: tuple[str, ...] = ("text",)
    """One column, or two for a task on pairs."""
    label: str | None = "label"
    """None: the rows are unlabelled."""
    id: str | None = None
    """None: a row's id is its number, from 0."""
    source_texts: tuple[str, ...] | None = None
    """The columns with the same texts in the source language, where the file holds them."""


def read_examples(
    path: Path | str,
    task: TextTask,
    columns: Columns,
    *,
    header: Sequence[str] | None = None,
    quotes: bool | None = None,
) -> tuple[Example, ...]:
    """Read a file of one language and part, whole.

    Returns:
        One example per row, in the file's order.

    Raises:
        UserError: See `iterate_examples`; or an id that occurs twice.
    """
    examples = tuple(iterate_examples(path, task, columns, header=header, quotes=quotes))
    if columns.id is not None:
        check_ids(outline_of(examples))
    return examples


def iterate_examples(
    path: Path | str,
    task: TextTask,
    columns: Columns,
    *,
    header: Sequence[str] | None = None,
    quotes: bool | None = None,
) -> Iterator[Example]:
    """Yield the examples of one language and part, of which only one is held in memory.

    Args:
        path: CSV, TSV, JSONL or Parquet.
        task: Gives the labels and the number of texts.
        columns: Which column holds what.
        header: Column names of a CSV or TSV file that has no header line.
        quotes: See `iterate_rows`.

    Yields:
        One example per row. A row whose source cells are all null (JSONL, Parquet) has no source.

    Raises:
        UserError: See `read_rows`; or an unknown label, an id that is no text, or a wrong number of text columns.
    """
    for names in (columns.texts, columns.source_texts):
        if names is not None and len(names) != task.text_count:
            raise UserError(
                f"{path}: task {task.name} takes {task.text_count} text(s), but {len(names)} column(s) are named:"
                f" {', '.join(names)}"
            )
    for number, row in enumerate(iterate_rows(path, header=header, quotes=quotes)):
        identity = str(number) if columns.id is None else identity_of(row, columns.id)
        texts = tuple(row.text(name) for name in columns.texts)
        label = None if columns.label is None else task.label_index(row.cell(columns.label), row.origin)
        source = None if columns.source_texts is None else source_of(row, columns.source_texts)
        yield Example(identity, texts, label, source, row.origin)


def attach_sources(
    examples: Sequence[Example], other: Sequence[Example], by: Literal["id", "row"] = "id", advice: str = ""
) -> tuple[Example, ...]:
    """Return `examples` with the texts of `other` as their source.

    Args:
        examples: In the target language.
        other: The same items in the source language.
        by: `id`: items with the same id belong together, and `other` may hold more; `row`: equal places do.
        advice: What else can be done about rows that do not correspond.

    Raises:
        UserError: They do not correspond; see `outline.check_partners`.
    """
    check_partners(outline_of(examples), outline_of(other), by, advice)
    if by == "row":
        return tuple(item.with_source(partner.texts) for item, partner in zip(examples, other, strict=True))
    known = {item.id: item.texts for item in other}
    return tuple(item.with_source(known[item.id]) for item in examples)


def identity_of(row: Row, column: str) -> str:
    """Return the id of a row, a text or a whole number; `UserError` for anything else."""
    value = row.cell(column)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    identity = row.text(column)
    if not identity:
        raise UserError(f"{row.origin}: the id in column '{column}' is empty; fill it, or name no id column")
    return identity


def source_of(row: Row, names: Sequence[str]) -> tuple[str, ...] | None:
    """Return the source texts of a row; None where all of its cells are null."""
    if all(row.cell(name) is None for name in names):
        return None
    return tuple(row.text(name) for name in names)
