"""Rows of a file to be translated, read and written one block at a time."""

import csv
import io
import json
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from crossflare.disk.files import replacing
from crossflare.errors import UserError, nearest
from crossflare.tasks.files import Row, format_of, iterate_rows
from crossflare.tasks.lines import Errors, lines_without_returns, wrong_byte

ROWS = 1024
"""How many rows a block has."""
Cells = Mapping[str, Any]


def iterate(path: Path, quotes: bool | None = None) -> Iterator[Row]:
    """Yield the rows of a table (see `iterate_rows`), or the lines of any other file as rows with the cell `text`.

    Raises:
        UserError: The file is missing, empty, not UTF-8 or damaged.
    """
    if format_of(path) is not None:
        yield from iterate_rows(path, quotes=quotes)
        return
    for row in iterate_lines(path):
        if isinstance(row, UserError):
            raise row
        yield row


def iterate_lines(path: Path, errors: Errors = "strict") -> Iterator[Row | UserError]:
    """Yield the lines of a file as rows with the cell `text`; see `rows_and_faults` for `errors`.

    Raises:
        UserError: The file is missing or empty.
    """
    if not path.is_file():
        raise UserError(f"{path}: expected a file, found none; check the path")
    number = 0
    for number, line in enumerate(lines_without_returns(path, errors), 1):
        wrong = wrong_byte(line)
        yield UserError(f"{path}:{number}: {wrong}") if wrong else Row({"text": line}, f"{path}:{number}")
    if number == 0:
        raise UserError(f"{path}: expected one text per line, found an empty file; check the path")


def blocks(path: Path, quotes: bool | None = None) -> Iterator[list[Row]]:
    """Yield the rows of a file, `ROWS` at a time."""
    rows = iterate(path, quotes)
    while block := list(islice(rows, ROWS)):
        yield block


def count_lines(path: Path) -> int | None:
    """Return about how many rows a file has, for a bar; None where that takes long to find out."""
    if path.suffix.lower() == ".parquet":
        return None
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))


def check_output(input: Path, output: Path) -> None:
    """Raise `UserError` when `output` is not a `.jsonl` or `.csv` file, or is the input itself."""
    suffix = output.suffix.lower()
    if suffix not in _FORMATS:
        raise UserError(f"{output}: expected an output that ends in .jsonl or .csv; {nearest(suffix, _FORMATS)}")
    if input.resolve() == output.resolve():
        raise UserError(f"{output}: input and output are the same file; name another output")


@contextmanager
def written(output: Path) -> Generator[Callable[[Sequence[Cells]], None]]:
    """Yield a function that takes the rows of `output`, one block at a time; the file appears when all went well.

    Raises:
        UserError: The disk is full; for CSV, a row's columns differ from those of the first row.
    """
    form = _FORMATS[output.suffix.lower()](output)
    with replacing(output) as file:
        yield lambda rows: form.write(file.write, rows)


class _Jsonl:
    def __init__(self, path: Path) -> None:
        pass

    def write(self, to: Callable[[bytes], object], rows: Sequence[Cells]) -> None:
        to("".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows).encode("utf-8", "replace"))


class _Csv:
    """Writes CSV: lists of words have bars between them; other values that are not text are written as JSON."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._header: list[str] | None = None

    def write(self, to: Callable[[bytes], object], rows: Sequence[Cells]) -> None:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        if self._header is None:
            self._header = list(rows[0])
            writer.writerow(self._header)
        for row in rows:
            if list(row) != self._header:
                raise UserError(
                    f"{self._path}: the rows have different columns, as {', '.join(row)[:120]}: write them to .jsonl"
                )
            writer.writerow([_cell(value) for value in row.values()])
        to(text.getvalue().encode("utf-8", "replace"))


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return "|".join(value)
    return json.dumps(value, ensure_ascii=False, default=str)


_FORMATS: Mapping[str, type[_Jsonl] | type[_Csv]] = {".jsonl": _Jsonl, ".csv": _Csv}
