"""Tables as text: CSV with any delimiter, TSV, spreadsheets, and lines of fastText.

Readers yield (line, cells), or (line, error) for a row that cannot be read, and go on after it.
"""

import csv
import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, time
from importlib import import_module
from pathlib import Path
from typing import Any

from crossflare.errors import UserError, listed
from crossflare.tasks.lines import (
    Errors,
    check_unpacked,
    lines_without_returns,
    read_lines,
    without_blank_end,
    wrong_byte,
)
from crossflare.tasks.quoting import is_quoted

Header = Sequence[str] | bool | None
"""The column names of a file without a header line; False: columns go by their places, 1, 2, ...; None or True: the
first line has the names."""
Numbered = Iterator[tuple[int, Mapping[str, str] | UserError]]
Records = Iterator[tuple[int, list[str] | UserError]]
LONGEST = 1 << 24
"""Characters of a cell after which a quote that is never closed is given up, where reading goes on after errors."""
_SPLITTERS = {";": '";"', "\t": "tab", "|": '"|"', ",": '","'}
"""Delimiter that files may have -> how a recipe writes it."""
_FASTTEXT = re.compile(r"__label__(\S+)\s(.*)", re.DOTALL)


def read_csv(path: Path, header: Header, delimiter: str, errors: Errors = "strict") -> Numbered:
    """Yield the rows of a file with quoted cells."""
    reader = csv.reader((line + "\n" for line in read_lines(path, errors)), delimiter=delimiter, strict=True)
    kind = "TSV with quoted cells" if delimiter == "\t" else "CSV"
    # The limit is for a forgotten quote, which strict mode reports anyway; texts may be long.
    limit = csv.field_size_limit(2**31 - 1 if errors == "strict" else LONGEST)

    def records() -> Records:
        line = 1
        while True:
            try:
                # The csv reader removes the CR of a CR LF line end; a CR inside quotes is text and stays.
                found = next(reader, None)
            except csv.Error as error:  # the reader goes on with the next line
                found = UserError(
                    f"{path}:{line}: damaged {kind} ({error}); look for a quote that is not doubled", "data"
                )
            if found is None:
                return
            yield line, found
            line = reader.line_num + 1

    try:
        yield from _table(path, records(), header, delimiter)
    finally:
        csv.field_size_limit(limit)


def read_tsv(path: Path, header: Header, quotes: bool | None, errors: Errors = "strict") -> Numbered:
    """Yield the rows of a tab-separated file, whose cells are quoted or not; None: found out from the whole file."""
    if quotes is None:
        quotes = is_quoted(path, lambda: without_blank_end(lines_without_returns(path, errors)))
    if quotes:
        return read_csv(path, header, "\t", errors)
    lines = lines_without_returns(path, errors)
    records: Records = ((number, line.split("\t")) for number, line in enumerate(lines, 1))
    return _table(path, records, header, "\t")


def read_sheet(path: Path, header: Header) -> Numbered:
    """Yield the rows of a spreadsheet, with cells as text."""
    return _table(path, read_cells(path), header, ",")


def read_fasttext(path: Path, errors: Errors = "strict") -> Numbered:
    """Yield `label` and `text` of lines `__label__NAME TEXT`."""
    for number, line in enumerate(without_blank_end(lines_without_returns(path, errors)), 1):
        found = _FASTTEXT.fullmatch(line)
        if wrong := wrong_byte(line):
            yield number, UserError(f"{path}:{number}: {wrong}")
        elif found is None:
            said = f"expected `__label__NAME TEXT`, found {line!r:.60}; correct the line"
            yield number, UserError(f"{path}:{number}: {said}")
        elif found[2].startswith("__label__"):
            yield number, UserError(f"{path}:{number}: expected one label, found several ({line!r:.60}); keep one")
        else:
            yield number, {"label": found[1], "text": found[2]}


def _table(path: Path, records: Records, header: Header, delimiter: str) -> Numbered:
    names = list(header) if header is not None and not isinstance(header, bool) else None
    blank: int | None = None
    for line, fields in records:
        # A blank line may end a file; a table of one column without quotes may end in an empty text.
        if names is not None and (not fields or (fields == [""] and delimiter == "\t" and len(names) > 1)):
            blank = blank or line
            continue
        if blank is not None:
            said = f"expected {len(names or ())} fields ({listed(names or ())}), found a blank line"
            yield blank, UserError(f"{path}:{blank}: {said}")
            blank = None
        if isinstance(fields, list) and names is not None and (wrong := wrong_byte("".join(fields))):
            fields = UserError(f"{path}:{line}: {wrong}")
        if isinstance(fields, UserError):
            if names is None and header is not False:
                raise fields  # without the columns' names, no row can be read
            yield line, fields
            continue
        if names is None:
            names = [str(place) for place in range(1, len(fields) + 1)] if header is False else fields
            if header is not False:
                _check_header(f"{path}:{line}", names)
                continue
        if len(fields) != len(names):
            hint = other_delimiter(fields if len(fields) == 1 else names)
            found = f"found {len(fields)}{hint}"
            yield line, UserError(f"{path}:{line}: expected {len(names)} fields ({listed(names)}), {found}")
            continue
        yield line, dict(zip(names, fields, strict=True))


def _check_header(origin: str, names: Sequence[str]) -> None:
    if wrong := wrong_byte("".join(names)):
        raise UserError(f"{origin}: {wrong}")
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated:
        message = f"{origin}: the header names a column twice: {listed(repeated)}; rename one{headless(names)}"
        raise UserError(message)


def other_delimiter(names: Sequence[str]) -> str:
    """Return the advice for a line whose only cell shows that another delimiter stands between its cells."""
    for sign, said in _SPLITTERS.items() if len(names) == 1 else ():
        if sign in names[0]:
            return f"; the line is one cell, {names[0]!r:.60}: if {said} stands between cells, say delimiter: {said}"
    return ""


def headless(names: Sequence[str]) -> str:
    """Return the advice for a file whose first line looks like a row and not like the names of columns."""
    long = any(len(name) > _LONG or name.count(" ") > _WORDS for name in names)
    advice = "put a line with their names above it, or say header: [names]"
    return f"; the first line is read as the names of the columns: {advice}" if long else ""


_LONG, _WORDS = 60, 4
"""The most characters, and the most blanks, that the name of a column may have."""


def read_cells(path: Path) -> Records:
    """Yield (row, cells as text) of the one sheet that has cells; blank rows have none.

    Whole numbers and truth values become their text (1, true), dates become 2026-01-31.

    Raises:
        UserError: The package openpyxl is not installed, the file is damaged or unpacks to too much, or several sheets
            have cells.
    """
    try:
        openpyxl: Any = import_module("openpyxl")
    except ImportError as error:
        advice = 'pip install "crossflare[files]", or save it as CSV in UTF-8'
        raise UserError(f"{path}: reading .xlsx needs the package openpyxl; {advice}") from error
    try:
        with zipfile.ZipFile(path) as packed:
            check_unpacked(path, sum(each.file_size for each in packed.infolist()))
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except UserError:
        raise
    except Exception as error:  # a damaged archive or its XML may raise anything
        raise UserError(
            f"{path}: expected a .xlsx file, but it is damaged ({str(error)[:120]}); save it again"
        ) from error
    try:
        yield from _rows(path, book)
    finally:
        book.close()


def _rows(path: Path, book: Any) -> Records:
    filled = [sheet for sheet in book.worksheets if any(_texts(row) for row in sheet.iter_rows(values_only=True))]
    if len(filled) > 1:
        names = listed([sheet.title for sheet in filled])
        raise UserError(f"{path}: expected one sheet with rows, found {len(filled)} ({names}); keep one in the file")
    width = 0
    for number, row in enumerate(filled[0].iter_rows(values_only=True) if filled else (), 1):
        cells = _texts(row)
        width = width or len(cells)
        yield number, cells + [""] * (width - len(cells)) if cells else []


def _texts(row: tuple[Any, ...]) -> list[str]:
    """Return the cells of a row as text, without empty cells at the end."""
    cells = [_text(value) for value in row]
    while cells and not cells[-1]:
        cells.pop()
    return cells


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, datetime) and value.time() == time():
        return value.date().isoformat()
    return value.isoformat() if isinstance(value, date | time) else str(value)
