"""Rows as objects: JSON lines, a JSON array, Parquet.

Readers yield (line or row, cells), or (line, error) for a row that cannot be read, and go on after it.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from crossflare.errors import UserError
from crossflare.tasks.lines import Errors, open_bytes, read_lines, without_blank_end, wrong_byte

Numbered = Iterator[tuple[int, Mapping[str, Any] | UserError]]


def read_jsonl(path: Path, errors: Errors = "strict") -> Numbered:
    """Yield the objects of a file with one on each line."""
    for number, line in enumerate(without_blank_end(read_lines(path, errors)), 1):
        yield number, _object(line, f"{path}:{number}", errors)


def _object(line: str, origin: str, errors: Errors) -> Mapping[str, Any] | UserError:
    if wrong := wrong_byte(line):
        return UserError(f"{origin}: {wrong}")
    try:
        cells = json.loads(line, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        said = f"{error.msg}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
        return UserError(f"{origin}: damaged JSON ({said}); correct the line")
    if not isinstance(cells, dict):
        return UserError(f"{origin}: expected a JSON object, found {kind_of(cells)}; one object per line")
    found = cast(dict[str, Any], cells)
    return found if errors == "strict" or "\\u" not in line else _whole(found, origin)


def _whole(cells: dict[str, Any], origin: str) -> dict[str, Any] | UserError:
    """Return an object, or the error about half of a surrogate pair in any of its values."""
    if _HALF.search(json.dumps(cells, ensure_ascii=False)):
        return UserError(f"{origin}: holds half of a surrogate pair; write whole characters")
    return cells


_HALF = re.compile("[\ud800-\udfff]")


def read_json_rows(path: Path, errors: Errors = "strict") -> Numbered:
    """Yield the objects of a list, of the only list in an object, or of JSON lines."""
    if is_json_lines(path):
        yield from read_jsonl(path, errors)
        return
    whole = load_json(path)
    for number, item in enumerate(_list_in(whole, path), 1):
        if not isinstance(item, dict):
            said = f"expected a list of objects, found {kind_of(item)} in it; correct it"
            yield number, UserError(f"{path}:{number}: {said}")
        else:
            cells = cast(dict[str, Any], item)
            yield number, cells if errors == "strict" else _whole(cells, f"{path}:{number}")


def load_json(path: Path) -> Any:
    """Return the value of a JSON file; raise `UserError`, which names the file, when it is not JSON."""
    try:
        with open_bytes(path) as file:
            return json.loads(file.read().decode("utf-8-sig"), object_pairs_hook=_unique)
    except UserError:
        raise
    except (ValueError, RecursionError) as error:
        advice = "correct it, or take a whole copy"
        raise UserError(f"{path}: expected JSON, but it is damaged ({error}); {advice}") from error


def is_json_lines(path: Path) -> bool:
    """Whether a file holds an object on each line: its first line is an object, and is not a file of rows by itself."""
    with suppress(ValueError, RecursionError), open_bytes(path) as file:
        first: Any = json.loads(file.readline().decode("utf-8-sig"))
        if isinstance(first, dict):
            more = any(line.strip() for line in file)
            return more or not any(_is_rows(value) for value in cast(dict[str, Any], first).values())
    return False


def first_object(path: Path) -> dict[str, Any] | None:
    """Return the first object of a file that `read_json_rows` would read; None where it would read none."""
    with suppress(UserError):
        _, cells = next(read_json_rows(path), (0, None))
        return dict(cells) if isinstance(cells, Mapping) else None
    return None


def _list_in(whole: Any, path: Path) -> list[Any]:
    if isinstance(whole, list):
        return cast(list[Any], whole)
    values = list(cast(dict[str, Any], whole).items()) if isinstance(whole, dict) else []
    lists = [(name, value) for name, value in values if isinstance(value, list)]
    if len(lists) == 1:
        return cast(list[Any], lists[0][1])
    found = f"an object with {len(lists)} lists" if isinstance(whole, dict) else kind_of(whole)
    raise UserError(f"{path}: expected a list of objects, or an object with one list, found {found}; save it as JSONL")


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(item, dict) for item in cast(list[Any], value))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    cells = dict(pairs)
    if len(cells) < len(pairs):
        raise ValueError("a key occurs twice in one object")
    return cells


def read_parquet(path: Path) -> Numbered:
    """Yield the rows of a Parquet file; one group of rows is in memory at a time."""
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        # Only the file: `read_table` would also read the folder's name, and take `language=sw` for a column.
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1024):
                for cells in _cells_of(batch):
                    number += 1
                    yield number, cells
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path}: expected a Parquet file, but it is damaged ({error}); make it again") from error


def count_parquet(path: Path) -> int | None:
    """Return how many rows a Parquet file has; None where it is damaged."""
    import pyarrow
    import pyarrow.parquet

    with suppress(pyarrow.ArrowException, OSError):
        return pyarrow.parquet.read_metadata(path).num_rows
    return None


def class_names(path: Path) -> dict[str, tuple[str, ...]]:
    """Return the columns of a Parquet file that hold numbers of labels, each with the labels' names in order.

    `datasets` writes the names into the schema; a file of another writer has none.
    """
    import pyarrow
    import pyarrow.parquet

    with suppress(pyarrow.ArrowException, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        metadata = pyarrow.parquet.read_schema(path).metadata or {}
        features: Any = json.loads(metadata[b"huggingface"])["info"]["features"]
        return {
            name: tuple(str(label) for label in each["names"])
            for name, each in features.items()
            if isinstance(each, dict) and cast(Any, each).get("_type") == "ClassLabel"
        }
    return {}


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


def kind_of(value: object) -> str:
    """Return the kind of a value, for messages."""
    if value is None:
        return "nothing (null)"
    names: dict[str, str] = {"int": "a number", "float": "a number", "bool": "a truth value", "dict": "an object"}
    return f"{names.get(type(value).__name__, type(value).__name__)} ({value!s:.40})"
