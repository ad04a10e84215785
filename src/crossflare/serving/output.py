"""Predicted rows as the bytes of a file, chunk by chunk: the input's columns as they were, then those that are added.

Chunks of CSV, TSV and JSONL follow one another, also when each is packed by itself. Chunks of Parquet are kept as Arrow
streams, of which `arrow.join_streams` makes one file when all are there.
"""

import bz2
import csv
import gzip
import io
import json
import lzma
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from crossflare.errors import UserError, choose
from crossflare.evaluation.scoring import finite
from crossflare.serving.prediction import Prediction
from crossflare.tasks import arrow
from crossflare.tasks.files import Row
from crossflare.tasks.lines import PACKED, unpacked_name

Cells = Mapping[str, Any]
DELIMITERS = {".csv": ",", ".tsv": "\t"}
KINDS = (".csv", ".jsonl", ".parquet", ".tsv")
"""Endings of the names of files that can be written."""


def kind_of_output(path: Path) -> str:
    """Return the kind of file, one of `KINDS`, that a path names, packed or not."""
    return Path(unpacked_name(path)).suffix.lower()


def check_writable(input: Path, output: Path) -> None:
    """Raise `UserError` if an output is of an unknown kind, would replace the input, or needs a package."""
    kind = choose("kind of output file", kind_of_output(output), KINDS)
    packing = output.suffix.lower()
    if kind == ".parquet" and packing in PACKED:
        raise UserError(f"{output}: a Parquet file is packed inside itself; name it {output.stem}")
    if packing == ".zst":
        _zstd(b"", output)
    if output.resolve() == input.resolve():
        raise UserError(f"{output}: the output would replace the input; name another file")


def _zstd(data: bytes, path: Path | None = None) -> bytes:
    try:
        library: Any = import_module("zstandard")
    except ImportError as error:
        advice = 'pip install "crossflare[files]", or name a .gz file'
        raise UserError(f"{path}: writing .zst needs the package zstandard; {advice}") from error
    return library.ZstdCompressor().compress(data)


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": lambda data: gzip.compress(data, mtime=0),
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": _zstd,
}
"""Ending of a packed file -> what packs a chunk; packed chunks that follow one another are one packed file."""


class Output:
    """What makes the bytes of one file."""

    def __init__(self, path: Path, columns: Sequence[str], like: Cells) -> None:
        """Take the path, the columns of the input, and the cells that are added to any row, for their names."""
        self._kind = kind_of_output(path)
        self._pack: Callable[[bytes], bytes] = PACKERS.get(path.suffix.lower(), bytes)
        self._columns = list(columns)
        self.is_table = self._kind != ".jsonl"
        """Whether all rows have the same columns, none of which has other values inside."""
        self.added = list(self._flat(like))
        """The names of the columns that are added."""

    def chunk(self, rows: Sequence[Row], added: Sequence[Cells], *, first: bool, taken: Any | None = None) -> bytes:
        """Return the bytes of a chunk of rows.

        Args:
            rows: N rows of the input.
            added: The cells that are added to each.
            first: Whether no chunk came before.
            taken: The N rows as an Arrow table, where both files are Parquet and types are to stay; None: `rows`.
        """
        if not rows and not (first and self._kind in DELIMITERS):
            return b""
        cells = [self._flat(each) for each in added]
        if self._kind == ".jsonl":
            data = _jsonl([{**row.cells, **more} for row, more in zip(rows, cells, strict=True)])
        elif self._kind == ".parquet":
            own = taken or arrow.table_of({name: [row.cells.get(name) for row in rows] for name in self._columns})
            more = arrow.table_of({name: [each[name] for each in cells] for name in self.added})
            return arrow.stream_of(arrow.beside(own, more))
        else:
            lines = [[*self._columns, *self.added]] if first else []
            for row, more in zip(rows, cells, strict=True):
                own = [arrow.cell_text(row.cells.get(name)) for name in self._columns]
                lines.append(own + [_cell(more[name]) for name in self.added])
            data = _delimited(lines, DELIMITERS[self._kind])
        return self._pack(data.encode("utf-8"))

    def _flat(self, cells: Cells) -> Cells:
        """Return the cells of a table: each probability has its own column."""
        if not self.is_table:
            return cells
        flat: dict[str, Any] = {}
        for name, value in cells.items():
            if isinstance(value, Mapping):
                stem = name.removesuffix("probabilities")
                flat |= {f"{stem}p({label})": share for label, share in value.items()}  # type: ignore[reportUnknownVariableType]
            else:
                flat[name] = value
        return flat


def _jsonl(rows: Sequence[Cells]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False, default=arrow.as_text) + "\n" for row in rows)


def _delimited(lines: Sequence[Sequence[str]], delimiter: str) -> str:
    # The csv module quotes a text with a line feed, but not one with a carriage return, which also ends a line.
    returns = any("\r" in cell for line in lines for cell in line)
    text = io.StringIO()
    quoting = csv.QUOTE_ALL if returns else csv.QUOTE_MINIMAL
    csv.writer(text, delimiter=delimiter, lineterminator="\n", quoting=quoting).writerows(lines)
    return text.getvalue()


def _cell(value: Any) -> str:
    """Return one of our values as a cell; all numbers of a column have the same decimals."""
    return f"{value:.6f}" if isinstance(value, float) else arrow.cell_text(value)


def added_cells(
    said: Prediction, *, number: int | None = None, sources: bool = False, abstains: bool = False,
    windows: bool = False, prefix: str = "",
) -> dict[str, Any]:  # fmt: skip
    """Return the cells that are added to a row.

    Args:
        said: The prediction.
        number: The number of the row, where the input has no name for it.
        sources: Whether the adapter reads texts in the source language; if so, the text that it read is written, too.
        abstains: Whether it may abstain; if so, whether it did is written, too.
        windows: Whether it reads longer texts in windows; if so, the number of windows is written, too.
        prefix: Put before each name.
    """
    numbers = {"probabilities": {label: round(p, 6) for label, p in said.probabilities.items()}}
    cells = (
        ({} if number is None else {"id": str(number)})
        | {"prediction": said.label}
        | (numbers if said.probabilities else {"score": finite(said.score)})
        | ({"abstained": said.abstained} if abstains else {})
        | ({"source": said.source} if sources else {})
        | {"truncated": said.truncated}
        | ({"windows": said.windows} if windows else {})
    )
    return {f"{prefix}{name}": value for name, value in cells.items()}
