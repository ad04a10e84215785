"""Translations on disk, by the content of engine and text: what was translated once is never translated again.

    <root>/<engine id>/identity.json
    <root>/<engine id>/<source>-<target>/<part>.jsonl      rows of `stored`

A row that is not as it was written is ignored, and its text translated again.

Parts only grow. A process holds the lock of the part it writes, so that many may write at once; each batch is one
write, flushed to the disk. A line cut off by a kill is ignored by readers and removed by the next writer of its part.
Memory does not grow with the rows: they stay on the disk, found through `Index`.
"""

import fcntl
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from crossflare.errors import UserError
from crossflare.files import read_json, write_json
from crossflare.languages import tag_of
from crossflare.translation.index import Index, Place, keys_of
from crossflare.translation.stored import digest, read_row, write_row
from crossflare.translation.translator import engine_id

_NEAR = 1 << 14  # bytes between two rows that are read in one go, rather than each for itself
_SPAN = 1 << 22  # bytes read in one go
_log = logging.getLogger(__name__)


class Shelf:
    """The translations of one engine from one language to another; close it to let others take over its part."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[int, int] = {}  # part -> bytes of it that are in the index, always whole lines
        self._index: Index | None = None
        self._reader = 0
        self._handle: int | None = None
        self._owner = 0
        self.damaged = 0
        """Rows met so far that were not what had been written."""

    def __enter__(self) -> "Shelf":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def find(self, texts: Iterable[str]) -> dict[str, str]:
        """Return the translations of those of `texts` that any process has finished by now.

        Of several translations of one text the first stands, in the order of the parts' names.
        """
        wanted = set(texts)
        if not wanted:
            return {}
        try:
            index = self._refresh()
            found: dict[str, str] = {}
            reasons: dict[int, list[str]] = {}
            for place, line in self._lines(index.find(keys_of([digest(text) for text in wanted]))):
                row = read_row(line)
                if isinstance(row, tuple):
                    found.setdefault(*row)  # one of `wanted`, or with a key that is equal by chance
                else:
                    index.remove(place)
                    reasons.setdefault(place.part, []).append(row)
            for part, known in reasons.items():
                self._warn(part, len(known), known[0])
        except OSError as error:
            raise UserError(
                f"{self._folder}: translations cannot be read ({error.strerror}); check the path"
            ) from error
        return {text: translation for text, translation in found.items() if text in wanted}

    def append(self, rows: Sequence[tuple[str, str]]) -> None:
        """Add (text, translation) rows; on return they are on the disk.

        Raises:
            UserError: The disk is full or the folder cannot be written; the part then ends where it ended before.
        """
        data = b"".join(write_row(*row) for row in rows)
        try:
            handle = self._own_part()
            end = os.fstat(handle).st_size
            try:
                written = 0
                while written < len(data):
                    written += os.write(handle, data[written:])
                os.fsync(handle)
            except OSError:
                os.ftruncate(handle, end)
                raise
        except OSError as error:
            reason = f"({error.strerror}); free space or choose another folder; earlier ones are kept"
            raise UserError(f"{self._folder}: translations could not be written {reason}") from error

    def close(self) -> None:
        """Release the part; the next `append` takes one again."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
        if self._index is not None and self._reader == os.getpid():
            self._index.close()
        self._index = None

    def _refresh(self) -> Index:
        """Return the index with all that is whole on the disk now."""
        if self._index is None or self._reader != os.getpid():  # after a fork the index stays the parent's
            self._index, self._read, self._reader = Index(), {}, os.getpid()
        for path in sorted(self._folder.glob("*.jsonl")):
            if not path.stem.isdecimal():
                continue
            part = int(path.stem)
            start = self._read.get(part, 0)
            if path.stat().st_size > start:
                self._read[part], damaged = self._index.read(path, part, start)
                if damaged:
                    self._warn(part, damaged, f"{damaged} of its lines are no rows")
        return self._index

    def _lines(self, places: Sequence[Place]) -> Iterator[tuple[Place, bytes]]:
        """Yield the bytes of rows, in order; neighbours are read together."""
        at = 0
        while at < len(places):
            first, end = places[at], at + 1
            while (
                end < len(places)
                and places[end].part == first.part
                and places[end].start - (places[end - 1].start + places[end - 1].size) < _NEAR
                and places[end].start - first.start < _SPAN
            ):
                end += 1
            size = places[end - 1].start + places[end - 1].size - first.start
            with (self._folder / _name(first.part)).open("rb") as file:
                data = os.pread(file.fileno(), size, first.start)
            for place in places[at:end]:
                yield place, data[place.start - first.start : place.start - first.start + place.size]
            at = end

    def _warn(self, part: int, count: int, reason: str) -> None:
        self.damaged += count
        said = f"{count} damaged rows are ignored, their texts are translated again"
        said = "a damaged row is ignored, its text is translated again" if count == 1 else said
        _log.warning("%s: %s (%s)", self._folder / _name(part), said, reason)

    def _own_part(self) -> int:
        """Return the locked handle of this process's part: the first that nobody holds, without a torn last line."""
        if self._handle is not None and self._owner == os.getpid():
            return self._handle
        if self._handle is not None:
            self.close()  # after a fork part and index stay the parent's
        self._folder.mkdir(parents=True, exist_ok=True)
        number = 0
        while self._handle is None:
            handle = os.open(self._folder / _name(number), os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._handle, self._owner = handle, os.getpid()
            except BlockingIOError:
                os.close(handle)
                number += 1
            except OSError:
                os.close(handle)
                raise
        _cut_torn_line(self._handle)
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)  # the name of a new part
        finally:
            os.close(folder)
        return self._handle


class Store:
    """All translations below one folder."""

    def __init__(self, root: Path | str) -> None:
        self._root = Path(root)

    def shelf(self, identity: Mapping[str, Any], source: str, target: str) -> Shelf:
        """Return the translations of the engine with this identity; its identity is written beside them.

        Raises:
            UserError: The folder holds another identity, so that it was not made by this engine.
        """
        folder = self._root / engine_id(identity)
        path = folder / "identity.json"
        if not path.exists():
            write_json(path, dict(identity))
        elif (found := read_json(path)) != json.loads(json.dumps(dict(identity))):
            raise UserError(f"{path}: expected the identity of {identity.get('engine')}, found {found}; move it away")
        return Shelf(folder / f"{tag_of(source)}-{tag_of(target)}")


def _name(part: int) -> str:
    return f"{part:04d}.jsonl"


def _cut_torn_line(handle: int) -> None:
    """Cut a file after its last line feed."""
    end = position = os.fstat(handle).st_size
    while position > 0:
        start = max(position - 65536, 0)
        feed = os.pread(handle, position - start, start).rfind(b"\n")
        if feed >= 0:
            position = start + feed + 1
            break
        position = start
    if position < end:
        os.ftruncate(handle, position)
