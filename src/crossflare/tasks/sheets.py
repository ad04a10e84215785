"""Rows of a spreadsheet (.xlsx), as text: what a cell shows is not read, but the value that it holds."""

import zipfile
from collections.abc import Iterator
from datetime import date, datetime, time
from importlib import import_module
from pathlib import Path
from typing import Any

from crossflare.errors import UserError, listed
from crossflare.tasks.lines import check_unpacked


def read_cells(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (row, cells as text) of the one sheet that has cells; blank rows have none.

    Whole numbers and truth values go by their text (1, true), dates as 2026-01-31.

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
    except Exception as error:  # whatever a damaged archive or its XML raises
        raise UserError(
            f"{path}: expected a .xlsx file, but it is damaged ({str(error)[:120]}); save it again"
        ) from error
    try:
        yield from _rows(path, book)
    finally:
        book.close()


def _rows(path: Path, book: Any) -> Iterator[tuple[int, list[str]]]:
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
    """Return the cells of a row as text, without empty ones at its end."""
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
