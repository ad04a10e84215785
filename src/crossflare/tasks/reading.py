"""From the rows of a file to examples, and from two aligned lists of examples to examples with their source."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from crossflare.errors import UserError
from crossflare.tasks.classification import TextTask
from crossflare.tasks.example import Example
from crossflare.tasks.files import Row, read_rows


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
    format: str | None = None,
    header: Sequence[str] | None = None,
    quotes: bool | None = None,
) -> tuple[Example, ...]:
    """Read a file of one language and part.

    Args:
        path: CSV, TSV, JSONL or Parquet.
        task: Gives the labels and the number of texts.
        columns: Which column holds what.
        format: See `read_rows`.
        header: Column names of a CSV or TSV file that has no header line.
        quotes: See `iterate_rows`.

    Returns:
        One example per row, in the file's order. A row whose source cells are all null (JSONL, Parquet) has no source.

    Raises:
        UserError: See `read_rows`; or an unknown label, an id that occurs twice, or a wrong number of text columns.
    """
    for names in (columns.texts, columns.source_texts):
        if names is not None and len(names) != task.text_count:
            raise UserError(
                f"{path}: task {task.name} takes {task.text_count} text(s), but {len(names)} column(s) are named:"
                f" {', '.join(names)}"
            )
    examples: list[Example] = []
    origins: dict[str, str] = {}
    for number, row in enumerate(read_rows(path, format, header, quotes)):
        identity = str(number) if columns.id is None else _identity(row, columns.id)
        if identity in origins:
            raise UserError(f"{row.origin}: the id '{identity}' is taken by {origins[identity]}; make ids unique")
        origins[identity] = row.origin
        texts = tuple(row.text(name) for name in columns.texts)
        label = None if columns.label is None else task.label_index(row.cell(columns.label), row.origin)
        source = None if columns.source_texts is None else _source(row, columns.source_texts)
        examples.append(Example(identity, texts, label, source, row.origin))
    return tuple(examples)


def attach_sources(
    examples: Sequence[Example], other: Sequence[Example], by: Literal["id", "row"] = "id"
) -> tuple[Example, ...]:
    """Return `examples` with the texts of `other` as their source.

    Args:
        examples: In the target language.
        other: The same items in the source language.
        by: `id`: items with the same id belong together, and `other` may hold more; `row`: equal places do.

    Raises:
        UserError: The counts differ (`row`), an id has no partner (`id`), or partners carry different labels, which
            means that they are not translations of each other.
    """
    counts = f"{len(examples)} rows against {len(other)} in the source language"
    if by == "row":
        if len(examples) != len(other):
            raise UserError(f"{_place(examples)} and {_place(other)}: {counts}; rows must correspond one to one")
        partners: list[Example] = list(other)
    else:
        known = {item.id: item for item in other}
        missing = [item for item in examples if item.id not in known]
        if missing:
            raise UserError(
                f"{missing[0].origin}: the id '{missing[0].id}' and {len(missing) - 1} more have no partner in"
                f" {_place(other)} ({counts}); give both files the same ids"
            )
        partners = [known[item.id] for item in examples]
    for item, partner in zip(examples, partners, strict=True):
        if item.label is not None and partner.label is not None and item.label != partner.label:
            raise UserError(
                f"{item.origin} (label number {item.label}) and {partner.origin} (label number {partner.label}):"
                " a text and its source must have the same label; the files do not correspond"
            )
    return tuple(item.with_source(partner.texts) for item, partner in zip(examples, partners, strict=True))


def _identity(row: Row, column: str) -> str:
    value = row.cell(column)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    identity = row.text(column)
    if not identity:
        raise UserError(f"{row.origin}: the id in column '{column}' is empty; fill it, or name no id column")
    return identity


def _source(row: Row, names: tuple[str, ...]) -> tuple[str, ...] | None:
    if all(row.cell(name) is None for name in names):
        return None
    return tuple(row.text(name) for name in names)


def _place(examples: Sequence[Example]) -> str:
    return examples[0].origin.rpartition(":")[0] if examples else "no file"
