"""Translations on disk, by the content of engine and text: what was translated once is never translated again.

    <root>/<engine id>/identity.json
    <root>/<engine id>/<source>-<target>/<part>.jsonl      {"key": sha256 of text, "text": ..., "translation": ...}

Parts only grow. A process holds the lock of the part it writes, so that many may write at once; each batch is one
write, flushed to the disk. A line cut off by a kill is ignored by readers and removed by the next writer of its part.
"""

import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from crossflare.errors import UserError
from crossflare.files import read_json, write_json
from crossflare.progress import bar
from crossflare.translation.translator import Translator, check_pair, counted, engine_id

_log = logging.getLogger(__name__)


def text_key(text: str) -> str:
    """Return the sha256 of a text in hex."""
    return hashlib.sha256(_encode(text)).hexdigest()


class Shelf:
    """The translations of one engine from one language to another; close it to let others take over its part."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[str, int] = {}  # part -> bytes of it that were read, always whole lines
        self._known: dict[str, str] = {}
        self._handle: int | None = None
        self._owner = 0

    def __enter__(self) -> "Shelf":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def refresh(self) -> Mapping[str, str]:
        """Read what was added since the last call, by any process, and return all: key -> translation.

        Of several translations of one text the first stands, in the order of the parts' names.
        """
        try:
            for part in sorted(self._folder.glob("*.jsonl")):
                for key, translation in self._rows(part):
                    self._known.setdefault(key, translation)
        except OSError as error:
            raise UserError(
                f"{self._folder}: translations cannot be read ({error.strerror}); check the path"
            ) from error
        return self._known

    def append(self, rows: Sequence[tuple[str, str]]) -> None:
        """Add (text, translation) rows; on return they are on the disk.

        Raises:
            UserError: The disk is full or the folder cannot be written; the part then ends where it ended before.
        """
        lines = [{"key": text_key(text), "text": text, "translation": translation} for text, translation in rows]
        data = b"".join(_encode(json.dumps(line, ensure_ascii=False)) + b"\n" for line in lines)
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

    def _rows(self, part: Path) -> Iterator[tuple[str, str]]:
        with part.open("rb") as file:
            file.seek(self._read.get(part.name, 0))
            data = file.read()
        whole = data.rfind(b"\n") + 1
        self._read[part.name] = self._read.get(part.name, 0) + whole
        for line in data[:whole].split(b"\n")[:-1]:
            try:
                row = json.loads(line)
                key, text, translation = row["key"], row["text"], row["translation"]
                if not isinstance(translation, str) or text_key(text) != key:
                    raise ValueError("the text is not the one of the key")
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                _log.warning("%s: a damaged row is ignored, its text is translated again (%s)", part, error)
                continue
            yield key, translation

    def _own_part(self) -> int:
        """Return the locked handle of this process's part: the first that nobody holds, without a torn last line."""
        if self._handle is not None and self._owner == os.getpid():
            return self._handle
        self.close()  # after a fork the part stays the parent's
        self._folder.mkdir(parents=True, exist_ok=True)
        number = 0
        while self._handle is None:
            handle = os.open(self._folder / f"{number:04d}.jsonl", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
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
        return Shelf(folder / f"{source}-{target}")


def translate_all(
    store: Store, translator: Translator, texts: Sequence[str], source: str, target: str, batch: int = 256
) -> list[str]:
    """Translate `texts`, each different one once, and only those the store lacks.

    Args:
        store: Where translations are looked up and kept.
        translator: The engine.
        texts: In the language `source`.
        source: BCP-47 tag of the language translated from.
        target: BCP-47 tag of the language translated to.
        batch: Texts per call of the engine; all of a batch are kept, or none.

    Returns:
        One translation per text, in order; blank texts as they are.
    """
    check_pair(source, target)
    keys = {text: text_key(text) for text in texts if text.strip()}
    with store.shelf(translator.identity, source, target) as shelf:
        known = shelf.refresh()
        missing = [text for text, key in keys.items() if key not in known]
        label = f"{translator.identity.get('engine', 'translate')}: {source} to {target}"
        with bar(label, len(missing)) as advance:
            for start in range(0, len(missing), batch):
                texts_now = missing[start : start + batch]
                wanted = [text for text in texts_now if keys[text] not in shelf.refresh()]  # another writer's are taken
                if wanted:
                    done = counted(translator.translate(wanted, source=source, target=target), len(wanted))
                    shelf.append(list(zip(wanted, done, strict=True)))
                advance(len(texts_now))
        known = shelf.refresh()
        return [known[keys[text]] if text in keys else text for text in texts]


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


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
