"""Translations on disk, by the content of engine and text: a text is translated once and never again.

    <root>/<engine id>/identity.json
    <root>/<engine id>/<source>-<target>/.<part>.lock
    <root>/<engine id>/<source>-<target>/<part>.jsonl      rows of `stored`

A row that is not as it was written is ignored, and its text is translated again.

Parts only grow. A process holds the lock of the part it writes, so that many processes can write at once. Each batch is
one write, flushed to the disk. A line cut off by a kill is ignored by readers, and the next writer of its part removes
it. Memory does not grow with the rows: they stay on the disk, and `Index` finds them.

    {"key": sha256 of the text, "check": sha256 of text and translation, its beginning, "text": ..., "translation": ...}

Rows of older versions have no `check`, and are only compared with their key. `check` comes before the text, so that a
cut through one row or two cannot make a row that looks like one of those.
"""

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from filelock import BaseFileLock

from crossflare.disk.files import read_json, write_json
from crossflare.disk.locks import leave_to_parent, take
from crossflare.disk.storage import sync
from crossflare.errors import UserError
from crossflare.languages import tag_of
from crossflare.translation.engines.protocol import engine_id
from crossflare.translation.index import Index, Place, keys_of

CHECK = 16
"""Hex digits of `check`."""
_READ, _WRITE = json.JSONDecoder().raw_decode, json.JSONEncoder(ensure_ascii=False).encode


def text_key(text: str) -> str:
    """Return the sha256 of a text in hex."""
    return text_digest(text).hex()


def text_digest(text: str) -> bytes:
    """Return the sha256 of a text."""
    return hashlib.sha256(_encode(text)).digest()


def write_row(text: str, translation: str) -> bytes:
    """Return the line, with its line feed, that keeps a text and its translation."""
    return _encode(_WRITE(_row(text, translation))) + b"\n"


def read_row(line: bytes) -> tuple[str, str] | str:
    """Return (text, translation) of a line, or why it is damaged."""
    try:
        content = line.decode("utf-8", "surrogatepass")
        row, end = _READ(content)
        if end < len(content):
            return "more than one row in a line"
        text, translation = row["text"], row["translation"]
        if not (isinstance(text, str) and isinstance(translation, str)):
            return "no texts"
        whole = _row(text, translation)
        if row["key"] != whole["key"]:
            return "the text is not the one of the key"
        older = {name: value for name, value in whole.items() if name != "check"}
        return (text, translation) if row in (whole, older) else "not as it was written"
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        return str(error)


def _row(text: str, translation: str) -> dict[str, str]:
    check = text_digest(_WRITE([text, translation])).hex()[:CHECK]
    return {"key": text_key(text), "check": check, "text": text, "translation": translation}


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


_NEAR = 1 << 14  # bytes between two rows that are still read together
_SPAN = 1 << 22  # bytes read at once
_log = logging.getLogger(__name__)


class Shelf:
    """The translations of one engine from one language to another; close it so that others can take over its part."""

    def __init__(self, folder: Path, holds: str = "translations") -> None:
        """Take the folder, and what it holds, for messages."""
        self._folder, self._holds = folder, holds
        self._read: dict[int, int] = {}  # part -> how many of its bytes are in the index, always whole lines
        self._index: Index | None = None
        self._reader = 0
        self._own: tuple[BinaryIO, BaseFileLock] | None = None
        self._owner = 0
        self.damaged = 0
        """How many rows so far were not as they had been written."""

    def __enter__(self) -> "Shelf":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def find(self, texts: Iterable[str]) -> dict[str, str]:
        """Return the translations of those of `texts` that any process has finished by now.

        If a text has several translations, the first counts, in the order of the parts' names.
        """
        wanted = set(texts)
        if not wanted:
            return {}
        try:
            index = self._refresh()
            found: dict[str, str] = {}
            reasons: dict[int, list[str]] = {}
            for place, line in self._lines(index.find(keys_of([text_digest(text) for text in wanted]))):
                row = read_row(line)
                if isinstance(row, tuple):
                    found.setdefault(*row)  # a text of `wanted`, or one whose key is equal by chance
                else:
                    index.remove(place)
                    reasons.setdefault(place.part, []).append(row)
            for part, known in reasons.items():
                self._warn(part, len(known), known[0])
        except OSError as error:
            raise UserError(
                f"{self._folder}: {self._holds} cannot be read ({error.strerror}); check the path"
            ) from error
        return {text: translation for text, translation in found.items() if text in wanted}

    def append(self, rows: Sequence[tuple[str, str]]) -> None:
        """Add (text, translation) rows; on return they are on the disk.

        Raises:
            UserError: The disk is full or the folder cannot be written; the part then ends where it ended before.
        """
        data = b"".join(write_row(*row) for row in rows)
        try:
            handle = self._own_part().fileno()
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
            raise UserError(f"{self._folder}: {self._holds} could not be written {reason}", "disk") from error

    def close(self) -> None:
        """Release the part; the next `append` takes one again."""
        if self._own is not None:
            file, lock = self._own
            file.close()
            if self._owner == os.getpid():
                lock.release()
            else:
                leave_to_parent(lock)
            self._own = None
        if self._index is not None and self._reader == os.getpid():
            self._index.close()
        self._index = None

    def _refresh(self) -> Index:
        """Return the index, with every row that is whole on the disk now."""
        if self._index is None or self._reader != os.getpid():  # after a fork the index still belongs to the parent
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
        """Yield the bytes of rows, in order; rows that are close together are read together."""
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
                file.seek(first.start)
                data = file.read(size)
            for place in places[at:end]:
                yield place, data[place.start - first.start : place.start - first.start + place.size]
            at = end

    def _warn(self, part: int, count: int, reason: str) -> None:
        self.damaged += count
        said = f"{count} damaged rows are ignored, and made again"
        said = "a damaged row is ignored, and made again" if count == 1 else said
        _log.warning("%s: %s (%s)", self._folder / _name(part), said, reason)

    def _own_part(self) -> BinaryIO:
        """Return this process's part, locked: the first that no process holds, without a torn last line."""
        if self._own is not None and self._owner == os.getpid():
            return self._own[0]
        if self._own is not None:
            self.close()  # after a fork part and index still belong to the parent
        number = 0
        while (lock := take(self._folder / f".{number:04d}.lock")) is None:
            number += 1
        try:
            path = self._folder / _name(number)
            file = path.open("a+b", buffering=0)
            _cut_torn_line(file)
            sync(self._folder)  # the name of a new part
        except BaseException:
            lock.release()
            raise
        self._own, self._owner = (file, lock), os.getpid()
        return file


class Store:
    """All translations below one folder."""

    def __init__(self, root: Path | str) -> None:
        self._root = Path(root)

    def shelf(self, identity: Mapping[str, Any], source: str, target: str) -> Shelf:
        """Return the translations of the engine with this identity; its identity is written next to them.

        Raises:
            UserError: The folder holds another identity, so that another engine made it.
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


def _cut_torn_line(file: BinaryIO) -> None:
    """Cut a file after its last line feed."""
    end = position = file.seek(0, os.SEEK_END)
    while position > 0:
        start = max(position - 65536, 0)
        file.seek(start)
        feed = file.read(position - start).rfind(b"\n")
        if feed >= 0:
            position = start + feed + 1
            break
        position = start
    if position < end:
        file.truncate(position)
