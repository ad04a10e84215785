"""The rows of a file as an adapter reads them, chunk by chunk; a row that it cannot read is refused with a reason."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from crossflare.errors import UserError, listed
from crossflare.serving.rows import text_columns
from crossflare.tasks.columns import source_of
from crossflare.tasks.dataset import Task
from crossflare.tasks.example import Example
from crossflare.tasks.files import Row, rows_and_faults
from crossflare.tasks.lines import unpacked_name
from crossflare.translation.rows import iterate_lines

ROWS, LETTERS = 1024, 1 << 22
"""A chunk ends with this many rows, or characters. Rows of one length in a chunk are batched together."""


@dataclass(frozen=True, slots=True)
class Column:
    """The columns of the input file that hold the source texts, as many as the task has texts."""

    names: tuple[str, ...]


@dataclass(eq=False, slots=True)
class Chunk:
    """Rows that follow one another in the input."""

    begin: int
    """Rows of the input before it."""
    read: int = 0
    """Rows of the input in it, the rejected ones, too."""
    rows: list[Row] = field(default_factory=list[Row])
    examples: list[Example] = field(default_factory=list[Example])
    """The rows as the adapter reads them."""
    places: list[int] = field(default_factory=list[int])
    """The place of each row among the `read` rows."""
    faults: list[UserError] = field(default_factory=list[UserError])
    """Why the other rows were rejected."""


class Intake:
    """The rows of one input."""

    def __init__(
        self,
        task: Task,
        path: Path,
        *,
        texts: Sequence[str] = (),
        sources: Sequence[str] = (),
        id_column: str | None = None,
        quotes: bool | None = None,
    ) -> None:
        """Find the columns by the first row that can be read.

        Args:
            task: The task, which says how many texts a row has.
            path: The input.
            texts: The columns of the texts; none: the usual ones.
            sources: The columns of the source texts.
            id_column: The column of the row's name, which has to be there; None: `id`, if it is.
            quotes: See `iterate_rows`.

        Raises:
            UserError: No row can be read, a column is missing, or there are too many or too few.
        """
        self._path, self._quotes, self._sources = path, quotes, tuple(sources)
        first = next((row for row in self._read() if isinstance(row, Row)), None)
        if first is None:
            raise next(row for row in self._read() if isinstance(row, UserError))
        self.columns = tuple(first.cells)
        self.texts = _texts_of(texts, task, first)
        if sources and len(sources) != task.text_count:
            raise UserError(f"the task has {task.text_count} text(s), but {len(sources)} source column(s) are named")
        for name in (*self.texts, *sources, *([] if id_column is None else [id_column])):
            first.cell(name)
        self.is_named = id_column is not None or "id" in first.cells
        """Whether a column names the rows."""
        self._added, self._is_table = frozenset[str](), False

    def check_columns(self, added: Sequence[str], *, is_table: bool) -> None:
        """Refuse an input that has a column which will be added; a row that has one later is rejected.

        Args:
            added: The names of these columns.
            is_table: Whether the output has the columns of the first row only; a row with others is rejected.
        """
        self._added, self._is_table = frozenset(added), is_table
        if taken := [name for name in added if name in self.columns]:
            raise UserError(
                f"{self._path}: it has a column '{taken[0]}' already, which would be added; say --prefix TEXT to put "
                "TEXT before the names of all added columns"
            )

    def check_rows(self) -> None:
        """Read all rows and raise the error of the first that cannot be read."""
        for chunk in self.chunks(0):
            if chunk.faults:
                raise chunk.faults[0]

    def chunks(self, skip: int) -> Iterator[Chunk]:
        """Yield the rows in chunks, without the first `skip`, where a chunk began."""
        rows = islice(self._read(), skip, None)
        chunk, letters = Chunk(skip), 0
        for row in rows:
            try:
                if isinstance(row, UserError):
                    raise row
                chunk.examples.append(self._example(row, chunk.begin + chunk.read))
                chunk.rows.append(row)
                chunk.places.append(chunk.read)
                letters += sum(len(cell) for cell in row.cells.values() if isinstance(cell, str))
            except UserError as fault:
                chunk.faults.append(fault.with_traceback(None))
            chunk.read += 1
            if chunk.read == ROWS or letters >= LETTERS:
                yield chunk
                chunk, letters = Chunk(chunk.begin + chunk.read), 0
        if chunk.read:
            yield chunk

    def _read(self) -> Iterator[Row | UserError]:
        if Path(unpacked_name(self._path)).suffix.lower() == ".txt":
            return iterate_lines(self._path, "surrogateescape")
        return rows_and_faults(self._path, quotes=self._quotes)

    def _example(self, row: Row, number: int) -> Example:
        """Return a row as an example; raise `UserError` if it cannot be read, or cannot be written."""
        texts = tuple(row.text(column) for column in self.texts)
        source = source_of(row, self._sources) if self._sources else None
        for column, text in zip(self.texts, texts, strict=True):
            if not text.strip():
                raise UserError(
                    f"{row.origin}: the text in column '{column}' is empty; write one, or leave the row out"
                )
        for column, text in zip(self.texts + self._sources, texts + (source or ()), strict=False):
            if "\0" in text:
                raise UserError(f"{row.origin}: column '{column}' holds a NUL character; take it out")
        other = row.cells.keys() - set(self.columns) if self._is_table else row.cells.keys() & self._added
        if other:
            why = "which the first row lacks; write to .jsonl" if self._is_table else "which would be added"
            raise UserError(f"{row.origin}: it has a column '{min(other)}', {why}, or leave the column out")
        return Example(str(number), texts, source=source, origin=row.origin)


def _texts_of(given: Sequence[str], task: Task, first: Row) -> tuple[str, ...]:
    """Return the columns of the texts, those given or the usual ones; raise `UserError` if they do not fit."""
    count = task.text_count
    columns = tuple(given) or text_columns(task)
    if len(columns) != count:
        raise UserError(f"the task has {count} text(s), but {len(columns)} column(s) are named: {', '.join(columns)}")
    missing = [name for name in columns if name not in first.cells]
    if missing and not given:
        found = listed(map(str, first.cells))
        raise UserError(
            f"{first.origin}: no column '{missing[0]}' (found: {found}); name the text's with --text COLUMN"
        )
    return columns
