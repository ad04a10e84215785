"""Strict reading of CSV, TSV, JSONL and Parquet: text arrives exactly as written, and damage is named by its line.

Nothing is guessed but whether the cells of a TSV file are quoted (see `quoting`): the words NA, null, None and nan stay
text, blanks stay, an empty text stays empty. Lines end with the line feed alone, because texts hold U+2028, U+0085 and
the like; a TSV with CR LF at every line loses the CR.
"""

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from crossflare.errors import UserError, choose, listed, nearest
from crossflare.tasks.quoting import is_quoted

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
FORMATS = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file: its cells by column name, and where it was read."""

    cells: Mapping[str, Any]
    origin: str
    """`file:line`, the first line of the row; `file:row` for Parquet; both count from 1."""

    def cell(self, column: str) -> Any:
        """Return the cell of `column`; raise `UserError` with the columns found when there is no such column."""
        if column not in self.cells:
            raise UserError(f"{self.origin}: expected a column '{column}': {_found(column, self.cells)}")
        return self.cells[column]

    def text(self, column: str) -> str:
        """Return the text in `column`, untouched; raise `UserError` when the cell holds anything but text."""
        value = self.cell(column)
        if not isinstance(value, str):
            raise UserError(f"{self.origin}: column '{column}' should hold text, found {_kind(value)}")
        if not value.isascii() and any("\ud800" <= sign <= "\udfff" for sign in value):
            raise UserError(f"{self.origin}: column '{column}' holds half of a surrogate pair; write whole characters")
        return value


def read_rows(
    path: Path | str, format: str | None = None, header: Sequence[str] | None = None, quotes: bool | None = None
) -> list[Row]:
    """Read all rows of a file; see `iterate_rows`."""
    return list(iterate_rows(path, format, header, quotes))


def iterate_rows(
    path: Path | str, format: str | None = None, header: Sequence[str] | None = None, quotes: bool | None = None
) -> Iterator[Row]:
    """Yield the rows of a file, of which only one is held in memory (of a Parquet file one group of rows).

    Args:
        path: The file.
        format: `csv`, `tsv`, `jsonl` or `parquet`; by default from the file's name.
        header: Column names of a CSV or TSV file that has no header line.
        quotes: Whether a TSV file's cells are quoted, as those of CSV always are; None: as the whole file shows.

    Yields:
        At least one row. Cells of CSV and TSV are text; those of JSONL and Parquet what the file holds.

    Raises:
        UserError: The file is missing, empty, not UTF-8 or damaged, or a TSV file that may be quoted or not; names the
            line.
    """
    path = Path(path)
    if not path.is_file():
        beside = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
        hint = nearest(path.name, beside) if beside else f"there is no folder {path.parent}"
        raise UserError(f"{path}: expected a file, found none; check the path; {hint}")
    if format is None and path.suffix.lower() not in FORMATS:
        raise UserError(f"{path}: unknown kind of file '{path.suffix}'; say csv, tsv, jsonl or parquet")
    chosen = choose("file format", format or FORMATS[path.suffix.lower()], FORMATS.values())
    if header is not None and chosen not in ("csv", "tsv"):
        raise UserError(f"{path}: column names are given for a headless file, but a {chosen} file names its own")
    row = None
    if chosen == "tsv" and quotes is None:
        quotes = is_quoted(path, lambda: _lines_of_tsv(path))
    for row in _READERS["quoted" if chosen == "tsv" and quotes else chosen](path, header):
        yield row
    if row is None:
        raise UserError(f"{path}: expected at least one row, found {_nothing(path, chosen, header)}")


def _read_csv(path: Path, header: Sequence[str] | None, delimiter: str = ",") -> Iterator[Row]:
    reader = csv.reader((line + "\n" for line in read_lines(path)), delimiter=delimiter, strict=True)
    kind = "CSV" if delimiter == "," else "TSV with quoted cells"
    # The limit guards against a forgotten quote, which strict mode reports anyway; texts may be long.
    limit = csv.field_size_limit(2**31 - 1)

    def records() -> Iterator[tuple[int, list[str]]]:
        line = 1
        try:
            for fields in reader:
                # The CR of a CR LF line end is eaten by the csv reader; one inside quotes is text and stays.
                yield line, fields
                line = reader.line_num + 1
        except csv.Error as error:
            raise UserError(f"{path}:{line}: damaged {kind} ({error}); look for a quote that is not doubled") from error

    try:
        yield from _table(path, records(), header)
    finally:
        csv.field_size_limit(limit)


def _read_tsv(path: Path, header: Sequence[str] | None) -> Iterator[Row]:
    yield from _table(path, ((n, line.split("\t")) for n, line in enumerate(_lines_of_tsv(path), 1)), header)


def _lines_of_tsv(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        returns = all(line.endswith(b"\r\n") for line in file)
    return (line[:-1] for line in read_lines(path)) if returns else read_lines(path)


def _table(path: Path, records: Iterator[tuple[int, list[str]]], header: Sequence[str] | None) -> Iterator[Row]:
    if header is None:
        line, names = next(records, (1, []))
        repeated = sorted(name for name, count in Counter(names).items() if count > 1)
        if repeated:
            raise UserError(
                f"{path}:{line}: the header names a column twice: {listed(repeated)}; rename one{_headless(names)}"
            )
    else:
        names = list(header)
    for line, fields in records:
        if len(fields) != len(names):
            found = "a blank line" if fields in ([], [""]) else f"{len(fields)}"
            raise UserError(f"{path}:{line}: expected {len(names)} fields ({listed(names)}), found {found}")
        yield Row(dict(zip(names, fields, strict=True)), f"{path}:{line}")


def _read_jsonl(path: Path, header: Sequence[str] | None) -> Iterator[Row]:
    for number, line in enumerate(read_lines(path), 1):
        origin = f"{path}:{number}"
        try:
            cells = json.loads(line, object_pairs_hook=_unique)
        except json.JSONDecodeError as error:
            raise UserError(f"{origin}: damaged JSON ({error.msg}, column {error.colno}); correct the line") from error
        except (ValueError, RecursionError) as error:
            raise UserError(f"{origin}: damaged JSON ({error}); correct the line") from error
        if not isinstance(cells, dict):
            raise UserError(f"{origin}: expected a JSON object, found {_kind(cells)}; one object per line")
        yield Row(cells, origin)


def _read_parquet(path: Path, header: Sequence[str] | None) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        # One file as it is: `read_table` looks at the folder too, for which `language=sw` would name a column.
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1024):
                for cells in _cells_of(batch):
                    number += 1
                    yield Row(cells, f"{path}:{number}")
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path}: expected a Parquet file, but it is damaged ({error}); make it again") from error


def _cells_of(batch: Any) -> list[dict[str, Any]]:
    """Return the rows of a batch; values that Python has no type for (durations in nanoseconds) become text."""
    try:
        return batch.to_pylist()
    except (OverflowError, ValueError):
        columns = {name: _values_of(batch.column(place)) for place, name in enumerate(batch.schema.names)}
        return [{name: values[row] for name, values in columns.items()} for row in range(batch.num_rows)]


def _values_of(column: Any) -> list[Any]:
    try:
        return column.to_pylist()
    except (OverflowError, ValueError):
        return [str(getattr(scalar, "value", scalar)) if scalar.is_valid else None for scalar in column]


_READERS: dict[str, Callable[[Path, Sequence[str] | None], Iterator[Row]]] = {
    "csv": _read_csv,
    "tsv": _read_tsv,
    "quoted": partial(_read_csv, delimiter="\t"),
    "jsonl": _read_jsonl,
    "parquet": _read_parquet,
}


def read_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a UTF-8 file, ended by the line feed alone and without it; a byte order mark is left out.

    Raises:
        UserError: The file is not UTF-8; names the line and the byte.
    """
    offset, utf16 = 0, False
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if number == 1:
                utf16 = line[:2] in (b"\xff\xfe", b"\xfe\xff")
                skipped = len(BYTE_ORDER_MARK) if line.startswith(BYTE_ORDER_MARK) else 0
                line, offset = line[skipped:], skipped
                if not line:
                    return
            try:
                yield line.decode("utf-8").removesuffix("\n")
            except UnicodeDecodeError as error:
                hint = " (it starts as UTF-16 does)" if utf16 else ""
                raise UserError(
                    f"{path}:{number}: not UTF-8: byte 0x{line[error.start]:02x} at offset {offset + error.start}"
                    f"{hint}; save the file as UTF-8"
                ) from error
            offset += len(line)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    cells = dict(pairs)
    if len(cells) < len(pairs):
        raise ValueError("a key occurs twice in one object")
    return cells


def _found(column: str, cells: Mapping[str, Any]) -> str:
    names = [str(name) for name in cells]
    return nearest(column, names).replace("known:", "found columns:") + _headless(names)


def _headless(names: Sequence[str]) -> str:
    """Return what to say where the first line of a file looks like a row rather than the names of columns."""
    long = any(len(name) > _LONG or name.count(" ") > _WORDS for name in names)
    return "; the first line is read as the names of the columns: put a line with their names above it" if long else ""


_LONG, _WORDS = 60, 4
"""Most characters, and blanks, of what may be the name of a column."""


def _kind(value: object) -> str:
    if value is None:
        return "nothing (null)"
    names: dict[str, str] = {"int": "a number", "float": "a number", "bool": "a truth value", "dict": "an object"}
    return f"{names.get(type(value).__name__, type(value).__name__)} ({value!s:.40})"


def _nothing(path: Path, format: str, header: Sequence[str] | None) -> str:
    if path.read_bytes() in (b"", BYTE_ORDER_MARK):
        return "an empty file"
    return "only a header line" if format in ("csv", "tsv") and header is None else "none"
