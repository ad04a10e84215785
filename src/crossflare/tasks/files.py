"""Strict reading of CSV, TSV, XLSX, JSON, JSONL, Parquet and fastText: text as written, faults named by their line.

Nothing is guessed except whether the cells of a TSV file are quoted (see `quoting`): the words NA, null, None and nan
stay text, blanks stay, an empty text stays empty. Lines end with the line feed alone, because texts hold U+2028, U+0085
and the like; a TSV with CR LF at every line loses the CR. Blank lines at the end of a file are not rows.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

from crossflare.errors import UserError, choose, nearest
from crossflare.tasks import objects, tables
from crossflare.tasks.lines import BYTE_ORDER_MARK, PACKED, Errors, open_bytes, unpacked_name

Format = Literal["csv", "tsv", "xlsx", "jsonl", "json", "parquet", "fasttext"]
Column = str | int
"""A column by its name, a field inside an object as `meta.text`, or a column of a table by its place, from 1."""
ENDINGS: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".xlsx": "xlsx",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
}
"""Ending of a name -> format of the file."""
TABLES = ("csv", "tsv", "xlsx")
"""Formats whose columns have places, and may have no names."""
DELIMITED = ("csv", "tsv")
DELIMITERS = {"tab": "\t", "\\t": "\t"}
"""Word for a delimiter -> the delimiter."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file: its cells by column name, and where it was read."""

    cells: Mapping[str, Any]
    origin: str
    """`file:line`, the first line of the row; `file:row` for Parquet and JSON arrays; all count from 1."""

    def cell(self, column: Column) -> Any:
        """Return the cell of `column`; raise `UserError` with the columns found when there is no such column."""
        if isinstance(column, int):
            if not 1 <= column <= len(self.cells):
                raise UserError(f"{self.origin}: expected a column {column}, found {len(self.cells)}; count from 1")
            return list(self.cells.values())[column - 1]
        if column in self.cells:
            return self.cells[column]
        inside: Any = self.cells
        for key in column.split("."):
            if not isinstance(inside, Mapping) or key not in inside:
                raise UserError(f"{self.origin}: expected a column '{column}': {_found(column, self.cells)}")
            inside = cast(Mapping[str, Any], inside)[key]
        return inside

    def has(self, column: Column) -> bool:
        """Whether there is such a column."""
        try:
            self.cell(column)
        except UserError:
            return False
        return True

    def text(self, column: Column) -> str:
        """Return the text in `column`, untouched; raise `UserError` when the cell holds anything but text."""
        value = self.cell(column)
        if not isinstance(value, str):
            raise UserError(f"{self.origin}: column '{column}' should hold text, found {objects.kind_of(value)}")
        if not value.isascii() and any("\ud800" <= sign <= "\udfff" for sign in value):
            raise UserError(f"{self.origin}: column '{column}' holds half of a surrogate pair; write whole characters")
        return value


def read_rows(
    path: Path | str,
    format: str | None = None,
    header: tables.Header = None,
    quotes: bool | None = None,
    delimiter: str | None = None,
) -> list[Row]:
    """Read all rows of a file; see `iterate_rows`."""
    return list(iterate_rows(path, format, header, quotes, delimiter))


def iterate_rows(
    path: Path | str,
    format: str | None = None,
    header: tables.Header = None,
    quotes: bool | None = None,
    delimiter: str | None = None,
) -> Iterator[Row]:
    """Yield the rows of a file; one row is in memory at a time (for Parquet one group of rows, for a JSON array all).

    Args:
        path: The file; if its name ends in .gz, .bz2, .xz or .zst, it is unpacked while it is read.
        format: See `Format`; by default from the file's name.
        header: Column names of a CSV or TSV file that has no header line; False: it has none, and columns go by places.
        quotes: Whether a TSV file's cells are quoted, as those of CSV always are; None: found out from the whole file.
        delimiter: The text between the cells of a table; None: a comma in CSV, a tab in TSV.

    Yields:
        At least one row. Cells of tables are text; those of JSON and Parquet are what the file holds.

    Raises:
        UserError: The file is missing, empty, not UTF-8 or damaged, or a TSV file could be quoted or not; the message
            names the line.
    """
    for row in rows_and_faults(path, format, header, quotes, delimiter, "strict"):
        if isinstance(row, UserError):
            raise row
        yield row


def rows_and_faults(
    path: Path | str,
    format: str | None = None,
    header: tables.Header = None,
    quotes: bool | None = None,
    delimiter: str | None = None,
    errors: Errors = "surrogateescape",
) -> Iterator[Row | UserError]:
    """Yield the rows of a file as `iterate_rows` does; in place of a row that cannot be read comes its error.

    Args:
        path: See `iterate_rows`, as all others.
        format: See there.
        header: See there.
        quotes: See there.
        delimiter: See there.
        errors: `strict`: bytes that are not UTF-8 end the reading, too; else they are the fault of their row.

    Raises:
        UserError: No row of the file can be read.
    """
    path = Path(path)
    if not path.is_file():
        beside = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
        hint = nearest(path.name, beside) if beside else f"there is no folder {path.parent}"
        raise UserError(f"{path}: expected a file, found none; check the path; {hint}")
    chosen = format or format_of(path)
    if chosen is None:
        known = ", ".join(get_args(Format))
        raise UserError(f"{path}: unknown kind of file '{path.suffix}'; say its format: one of {known}")
    choose("file format", chosen, get_args(Format))
    if (chosen not in TABLES and header is not None) or (chosen not in DELIMITED and delimiter is not None):
        what = "column names are given for a headless file" if delimiter is None else "a delimiter is given"
        raise UserError(f"{path}: {what}, but a {chosen} file names its own{'' if delimiter is None else ' cells'}")
    if chosen in ("parquet", "xlsx") and path.suffix.lower() in PACKED:
        raise UserError(f"{path}: expected a {chosen} file as it is, which is packed inside itself; unpack it")
    between = DELIMITERS.get(delimiter or "", delimiter) or ("\t" if chosen == "tsv" else ",")
    readers: dict[str, Callable[[], objects.Numbered]] = {
        "jsonl": lambda: objects.read_jsonl(path, errors),
        "json": lambda: objects.read_json_rows(path, errors),
        "parquet": lambda: objects.read_parquet(path),
        "fasttext": lambda: tables.read_fasttext(path, errors),
        "xlsx": lambda: tables.read_sheet(path, header),
    }
    if chosen in DELIMITED and between == "\t":
        found = tables.read_tsv(path, header, quotes, errors)
    elif chosen in DELIMITED:
        found = tables.read_csv(path, header, between, errors)
    else:
        found = readers[chosen]()
    empty = True
    for number, cells in found:
        empty = False
        yield cells if isinstance(cells, UserError) else Row(cells, f"{path}:{number}")
    if empty:
        headed = chosen in TABLES and header in (None, True)
        raise UserError(f"{path}: expected at least one row, found {_nothing(path, headed)}")


def survey(path: Path) -> tuple[str, int | None]:
    """Return the sha256 of what a file holds, unpacked, and about how many rows it has; None: not known."""
    if not path.is_file():
        return "", None  # whoever reads it says what is missing
    lines, digest = 0, hashlib.sha256()
    with open_bytes(path) as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
            lines += block.count(b"\n")
    kind = format_of(path)
    if kind == "parquet":
        return digest.hexdigest(), objects.count_parquet(path)
    return digest.hexdigest(), None if kind in ("json", "xlsx") else max(lines - (kind in DELIMITED), 0)


def format_of(path: Path) -> Format | None:
    """Return the format that a file's name indicates; None where it indicates none."""
    return ENDINGS.get(Path(unpacked_name(path)).suffix.lower())


def _found(column: str, cells: Mapping[str, Any]) -> str:
    names = [str(name) for name in cells]
    inside = [f"{name}.{column}" for name, value in cells.items() if isinstance(value, Mapping) and column in value]
    hints = tables.headless(names) + tables.other_delimiter(names) + (f"; there is {inside[0]}" if inside else "")
    return nearest(column, names).replace("known:", "found columns:") + hints


def _nothing(path: Path, headed: bool) -> str:
    with open_bytes(path) as file:
        if file.read(4) in (b"", BYTE_ORDER_MARK):
            return "an empty file"
    return "only a header line" if headed else "none"
