"""How a file of rows is written and which of its columns holds what: declared once, for recipes and for `own_set`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from crossflare.errors import UserError, listed
from crossflare.tasks.files import DELIMITED, DELIMITERS, TABLES, Column, Format, Row, format_of, iterate_rows

QUESTION_COLUMNS = ("question", "context", "answers", "answer", "answer_start")
"""Options of `FileLayout` that are only for flat rows of questions."""
Align = Literal["id", "row", "none"]
"""How the files of two languages correspond: by the rows' ids, by their places, or not at all."""
Cell = str | int | bool
"""A value of a cell as `where` names it; numbers and truth values are read as their text."""


@dataclass(frozen=True)
class FileLayout:
    """The options of a file. Where one is not given, that of the task holds, or what the file's name indicates."""

    texts: tuple[Column, ...] = ()
    """The column of the text, or the two columns of a pair of texts."""
    label: Column | None = None
    """The column of the label."""
    id: Column | None = None
    """The column of the row's id; None: the row's number, from 0."""
    source_texts: tuple[Column, ...] = ()
    """The columns with the same texts in the source language, where the files have them."""
    question: Column | None = None
    """The column of the question, in flat rows of questions; None: `question`."""
    context: Column | None = None
    """The column of the question's context; None: `context`."""
    answers: Column | None = None
    """The column of the answers, each {text: [...], answer_start: [...]}; None: `answers`, if the rows have it."""
    answer: Column | None = None
    """The column of one answer's text, used where there is no column of answers; None: `answer`."""
    answer_start: Column | None = None
    """The column of the place where `answer` starts in the context; None: `answer_start`."""
    format: Format | None = None
    """The file's format; None: the format that the file's name indicates."""
    delimiter: str | None = None
    """The delimiter between the cells of a CSV file: `;`, `|`, `tab`, ...; None: a comma."""
    header: tuple[str, ...] | bool | None = None
    """The column names of a CSV or TSV file without a header line. false: it has no header line, and columns are named
    by their places, from 1. None: the first line has the names."""
    quotes: bool | None = None
    """Whether the cells of TSV files are quoted, as in CSV; None: crossflare finds out from each file."""
    where: dict[str, Cell] = field(default_factory=dict[str, Cell])
    """Column -> the value that a row must have there; all other rows are left out. A value that ends in `*` matches
    every value that begins with the text before it."""

    def given(self) -> dict[str, Any]:
        """Return the options that have a value."""
        values = {each.name: getattr(self, each.name) for each in fields(FileLayout)}
        return {name: value for name, value in values.items() if value not in (None, (), {})}

    def over(self, base: "FileLayout") -> "FileLayout":
        """Return these options, with the options of `base` where one has no value here."""
        return FileLayout(**(base.given() | self.given()))

    def named(self, name: str) -> Column:
        """Return the column of an option; by default the column with the option's own name."""
        return getattr(self, name) or name

    @property
    def text_columns(self) -> tuple[Column, ...]:
        """The columns of the texts; by default one, `text`."""
        return self.texts or ("text",)

    def mistakes(self) -> Iterator[tuple[str, str]]:
        """Yield (option, what is wrong with it)."""
        for name in ("texts", "label", "id", "source_texts", *QUESTION_COLUMNS):
            value = getattr(self, name)
            for column in value if isinstance(value, tuple) else (value,):
                if isinstance(column, int) and column < 1:
                    yield name, f"expected a column's name, or its place from 1, got {column}"
                if isinstance(column, int) and self.format is not None and self.format not in TABLES:
                    yield name, f"expected a name, got the place {column}, but a {self.format} file names its columns"
        sign = DELIMITERS.get(self.delimiter or "", self.delimiter)
        if sign is not None and (len(sign) != 1 or sign.isalnum() or sign in '"\n\r \ufeff'):
            yield "delimiter", f"expected one sign such as ; or |, or the word tab, got {self.delimiter!r}"
        for name, formats in (("delimiter", DELIMITED), ("header", TABLES)):
            if getattr(self, name) is not None and self.format is not None and self.format not in formats:
                yield name, f"means nothing in a {self.format} file; take it out, or say format: csv or tsv"
        if isinstance(self.header, tuple):
            twice = sorted({each for each in self.header if self.header.count(each) > 1})
            if twice or not self.header:
                yield "header", f"expected each column's name once, got {listed(twice) or 'an empty list'}"


@dataclass(frozen=True)
class FilePart(FileLayout):
    """The files of one part in one language, with the options in which they differ from those of the set."""

    path: Path | str | Sequence[Path | str] = ()
    """A path, which may have * and ? in its last part, or several of them."""


Given = Path | str | Sequence[Path | str] | FilePart
"""A path, which may be a pattern such as `train-*.csv`; several of them; or a part with a layout of its own."""


def paths_of(given: Given) -> list[Path]:
    """Return the paths and patterns of a part."""
    paths = given.path if isinstance(given, FilePart) else given
    return [Path(paths)] if isinstance(paths, Path | str) else [Path(path) for path in paths]


def is_pattern(path: Path) -> bool:
    """Whether a path may stand for several files."""
    return any(sign in path.name for sign in "*?[")


def files_of(path: Path | str) -> list[Path]:
    """Return the file at a path, or all files that match a pattern such as `train-*.csv`, sorted by name; or none."""
    path = Path(path)
    if path.is_file():
        return [path]
    return sorted(each for each in path.parent.glob(path.name) if each.is_file()) if is_pattern(path) else []


def rows_of(paths: Sequence[Path], layout: FileLayout) -> Iterator[tuple[Path, Row]]:
    """Yield the rows of files one after the other, each with its file; only rows that match `layout.where`.

    Raises:
        UserError: See `iterate_rows`; or no row is kept, or a column is named by its place in a file that has names.
    """
    places = [name for name, value in layout.given().items() for column in _columns(value) if isinstance(column, int)]
    kept = False
    seen: dict[str, None] = {}
    for path in paths:
        if places and (layout.format or format_of(path)) not in TABLES:
            raise UserError(f"{path}: columns go by their places in CSV and TSV alone; give the name of {places[0]}")
        for row in iterate_rows(path, layout.format, layout.header, layout.quotes, layout.delimiter):
            differing = _differing(row, layout.where)
            if differing is None:
                kept = True
                yield path, row
            elif len(seen) < _SHOWN:
                seen[differing] = None
    if not kept:
        wanted = ", ".join(f"{name}: {_as_text(value)}" for name, value in layout.where.items())
        raise UserError(f"{paths[0]}: expected rows where {wanted}, found none, but {listed(seen)}; correct `where`")


_SHOWN = 12


def _columns(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else () if isinstance(value, bool) else (value,)


def _differing(row: Row, where: Mapping[str, Cell]) -> str | None:
    """Return the first cell that does not match, as `column: value`; None: all match."""
    for name, wanted in where.items():
        value = row.cell(name)
        text, asked = _as_text(value), _as_text(wanted)
        if text != asked and not (asked.endswith("*") and text.startswith(asked[:-1])):
            return f"{name}: {_as_text(value)}"
    return None


def _as_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
