"""Arrow tables of rows: chunks as streams, the one Parquet file of them, and the rows of a Parquet file as they are."""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from crossflare.disk.storage import storage_error

GROUP = 32 << 20
"""Bytes of rows that go into one row group of Parquet."""
FEATURES = b"huggingface"
"""The key under which `datasets` keeps the types of the columns, which it then expects to be complete."""


def cell_text(value: Any) -> str:
    """Return a value as a cell: nothing for null, true and false in lower case, lists and objects as JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False, default=as_text)


def as_text(value: Any) -> str:
    """Return a value that JSON has no type for (dates, decimals, bytes) as text."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def table_of(columns: Mapping[str, Sequence[Any]]) -> Any:
    """Return columns as a table."""
    import pyarrow as pa

    return pa.table({name: _column(values) for name, values in columns.items()})


def beside(table: Any, other: Any) -> Any:
    """Return a table with the columns of another one after its own."""
    metadata: dict[bytes, bytes] = dict(table.schema.metadata or {})
    for name in other.column_names:
        table = table.append_column(name, other.column(name))
    with suppress(ValueError, KeyError, TypeError):
        said: Any = json.loads(metadata.pop(FEATURES))
        kinds = {"double": "float64"}
        more = {f.name: {"dtype": kinds.get(str(f.type), str(f.type)), "_type": "Value"} for f in other.schema}
        said["info"]["features"] |= more
        metadata[FEATURES] = json.dumps(said).encode()
    return table.replace_schema_metadata(metadata)


def stream_of(table: Any) -> bytes:
    """Return a table as the bytes of an Arrow stream."""
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return sink.getvalue().to_pybytes()


def _column(values: Sequence[Any]) -> Any:
    """Return values as an Arrow array; values of several types become text."""
    import pyarrow as pa

    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        return pa.array([None if value is None else cell_text(value) for value in values])


def join_streams(streams: Path, path: Path) -> None:
    """Write one Parquet file of the Arrow streams in a file; where a column's types differ, one that fits all is taken.

    Streams of no common type become text.

    Raises:
        UserError: The disk is full, or the file cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schemas = [table.schema for table in _tables(streams)]
    schema = _common(schemas)
    waiting: list[Any] = []
    size = 0
    try:
        with pq.ParquetWriter(path, schema) as writer:
            for table in _tables(streams):
                waiting.append(_cast(table, schema))
                size += table.nbytes
                if size >= GROUP:
                    writer.write_table(pa.concat_tables(waiting))
                    waiting, size = [], 0
            if waiting:
                writer.write_table(pa.concat_tables(waiting))
    except OSError as error:
        raise storage_error(path, error) from error


def _tables(streams: Path) -> Iterator[Any]:
    import pyarrow as pa

    with pa.memory_map(str(streams)) as file:
        while file.tell() < file.size():
            with pa.ipc.open_stream(file) as stream:
                yield stream.read_all()


def _common(schemas: Sequence[Any]) -> Any:
    import pyarrow as pa

    first = schemas[0]
    if all(schema.equals(first) for schema in schemas):
        return first
    fields: list[Any] = []
    for place, name in enumerate(first.names):
        kinds = {schema.field(place).type for schema in schemas}
        one = [pa.schema([pa.field(name, kind)]) for kind in sorted(kinds, key=str)]
        try:
            fields += list(pa.unify_schemas(one, promote_options="permissive"))
        except pa.ArrowException:
            fields.append(pa.field(name, pa.string()))
    return pa.schema(fields)


def _cast(table: Any, schema: Any) -> Any:
    import pyarrow as pa

    if table.schema.equals(schema):
        return table.replace_schema_metadata(schema.metadata)
    columns: list[Any] = []
    for column, field in zip(table.columns, schema, strict=True):
        if field.type == pa.string() and not pa.types.is_null(column.type):
            values = column.to_pylist()
            columns.append(pa.array([None if value is None else cell_text(value) for value in values], pa.string()))
        else:
            columns.append(column.cast(field.type))
    return pa.table(columns, schema=schema)


class ParquetRows:
    """The rows of a Parquet file as Arrow tables, taken in order, so that their types stay."""

    def __init__(self, path: Path, skip: int = 0) -> None:
        """Open a file, and leave out its first `skip` rows."""
        import pyarrow.parquet as pq

        self._batches = pq.ParquetFile(path).iter_batches(batch_size=1024)
        self._ready: list[Any] = []
        for begin in range(0, skip, 1024):
            self.take(min(1024, skip - begin))

    def take(self, count: int, keep: Sequence[int] | None = None) -> Any:
        """Return those of the next `count` rows whose places are in `keep`, as a table; None: all."""
        import pyarrow as pa

        while sum(len(batch) for batch in self._ready) < count:
            self._ready.append(next(self._batches))
        table = pa.Table.from_batches(self._ready)
        self._ready = table.slice(count).to_batches()
        part = table.slice(0, count)
        return part if keep is None or len(keep) == count else part.take(list(keep))
