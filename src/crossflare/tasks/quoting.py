"""Whether the cells of a TSV file are quoted, as in CSV, or a quote in it is a sign like any other.

Both are common: pandas and spreadsheets quote the cells that need it; programs that join cells with tabs quote none.
The whole file is read, and a file that could be either is refused with a message that has both ways to resolve it.

A cell is evidence for quoting when it is wrapped in quotes and the quotes inside are doubled: this does not happen by
chance. A cell is evidence against it when it holds a quote and is not wrapped so: a writer that quotes would have
wrapped it. A cell that is wrapped and holds no other quote shows nothing (it may be a quotation), unless its whole
column is wrapped. Where the lines have different numbers of cells, only quoted cells with line breaks or tabs in them
can explain it.
"""

import csv
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from crossflare.errors import UserError

ADVICE = "say quotes: true (cells are quoted, as in CSV) or quotes: false (a quote is text), or save it as JSONL"
_WRAPPED = re.compile(r'"((?:[^"]|"")*)"')
_CELL = r'(?:"[^"]*(?:""[^"]*)*"|[^\t"]*)'
_CLEAN = re.compile(rf"{_CELL}(?:\t{_CELL})*")


@dataclass
class _Seen:
    """What the cells of a file show: for each kind of cell the lines, or how many there are."""

    lines: int = 0
    equal: bool = True
    """Every line has as many cells as the first."""
    quotes: bool = False
    """A quote occurs at all."""
    doubled: list[int] = field(default_factory=list[int])
    """Lines with a cell that is wrapped, with doubled quotes inside."""
    wrapped: list[int] = field(default_factory=list[int])
    """Lines with a cell that is wrapped, with no quote inside."""
    stray: list[int] = field(default_factory=list[int])
    """Lines with a cell that holds a quote and is not wrapped."""
    columns: dict[int, int] = field(default_factory=dict[int, int])
    """Column -> how many of its cells are wrapped."""


def is_quoted(path: Path, lines: Callable[[], Iterable[str]]) -> bool:
    """Whether the cells of a TSV file are quoted.

    Args:
        path: The file, for messages.
        lines: Returns the file's lines, without their ends, from the first on at each call.

    Raises:
        UserError: It could be either; the message names the lines, and what to say.
    """
    seen = _look(lines())
    if not seen.quotes:
        return False
    if not seen.equal:
        clean = _records(lines())
        if clean is None:
            return False
        if not clean:
            raise _doubtful(path, "quoted cells would join lines that", seen)
        return True
    column = any(count >= seen.lines - 1 > 0 for count in seen.columns.values())
    if seen.stray:
        if seen.doubled or column:
            raise _doubtful(path, f"{_some(seen.doubled or seen.wrapped)} cells in quotes, others", seen)
        return False
    if not seen.doubled and not column and seen.wrapped:
        raise UserError(
            f"{path}: {_some(seen.wrapped)} a cell in quotes, which may wrap the cell or be part of its text; {ADVICE}"
        )
    return bool(seen.doubled) or column


def _look(lines: Iterable[str]) -> _Seen:
    seen, width = _Seen(), 0
    for number, line in enumerate(lines, 1):
        seen.lines = number
        width = width or line.count("\t") + 1
        seen.equal = seen.equal and line.count("\t") + 1 == width
        if '"' not in line:
            continue
        seen.quotes = True
        for column, cell in enumerate(line.split("\t")):
            found = _WRAPPED.fullmatch(cell) if cell.startswith('"') else None
            if found is not None:
                (seen.doubled if '"' in found[1] else seen.wrapped).append(number)
                seen.columns[column] = seen.columns.get(column, 0) + 1
            elif '"' in cell:
                seen.stray.append(number)
    return seen


def _records(lines: Iterable[str]) -> bool | None:
    """Whether every record is free of stray quotes; None where the file cannot be read as quoted cells at all."""
    held: list[str] = []

    def remember() -> Iterator[str]:
        for line in lines:
            held.append(line)
            yield line + "\n"

    width, clean = 0, True
    limit = csv.field_size_limit(2**31 - 1)
    try:
        for fields in csv.reader(remember(), delimiter="\t", strict=True):
            width = width or len(fields)
            if len(fields) != width:
                return None
            clean = clean and _CLEAN.fullmatch("\n".join(held)) is not None
            held.clear()
    except csv.Error:
        return None
    finally:
        csv.field_size_limit(limit)
    return clean


def _doubtful(path: Path, what: str, seen: _Seen) -> UserError:
    return UserError(f"{path}: {what} hold quotes as text ({_some(seen.stray)} such); {ADVICE}")


def _some(lines: list[int]) -> str:
    """Return how many lines there are, and the first one."""
    return f"line {lines[0]} has" if len(lines) == 1 else f"{len(lines)} lines, line {lines[0]} the first, have"
