"""Large files made piece by piece, kept after a kill, and named when they are whole.

    <folder>/journal.jsonl     line 1: what the files are made of; then a line for each piece, when it is on the disk
    <folder>/<name>            the pieces, one after the other

A piece is flushed before its line in the journal. After a kill the files are cut to the sizes of the last whole line,
so that the next piece follows the last one that counts.
"""

import json
import os
import shutil
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from crossflare.disk.files import sync
from crossflare.disk.locks import alone
from crossflare.disk.storage import storage_error
from crossflare.errors import UserError, listed

JOURNAL = "journal.jsonl"


class Growing:
    """The files of a folder; see `opened_growing`."""

    def __init__(self, folder: Path, about: Mapping[str, Any], names: Sequence[str]) -> None:
        self.folder, self.names = folder, names
        self._about: Any = json.loads(json.dumps(about))
        self.state: dict[str, Any] = {}
        """What the caller said with the last piece; empty: there is no piece."""
        self.is_whole = False
        """Whether `name_files` was begun: nothing may be added."""
        self._open()

    def _open(self) -> None:
        journal = self.folder / JOURNAL
        lines = journal.read_bytes().splitlines(keepends=True) if journal.is_file() else []
        if not lines or not lines[0].endswith(b"\n"):
            journal.unlink(missing_ok=True)
            return
        made: dict[str, Any] = json.loads(lines[0])
        unlike = sorted(name for name in made.keys() | self._about.keys() if made.get(name) != self._about.get(name))
        if unlike:
            raise UserError(
                f"{self.folder}: its rows were made with something else ({listed(unlike)}); give the same to go on, or "
                "remove the folder to begin anew"
            )
        whole = [line for line in lines if line.endswith(b"\n")]
        os.truncate(journal, sum(map(len, whole)))
        last: dict[str, Any] = json.loads(whole[-1]) if len(whole) > 1 else {}
        self.state, self.is_whole = last.get("state", {}), last.get("whole", False)
        for name in () if self.is_whole else self.names:
            path, size = self.folder / name, last.get("sizes", {}).get(name, 0)
            found = path.stat().st_size if path.is_file() else 0
            if found < size:
                raise UserError(f"{path}: expected {size} bytes, found {found}; remove the folder to begin anew")
            if found > size:
                os.truncate(path, size)

    def add(self, pieces: Mapping[str, bytes], state: Mapping[str, Any]) -> None:
        """Add a piece to each file; on return it is on the disk.

        Args:
            pieces: Name of a file -> its bytes.
            state: What `state` is if the work goes on after this piece; JSON.

        Raises:
            UserError: The disk is full or the folder cannot be written; the pieces before stay.
        """
        try:
            is_new = not (self.folder / JOURNAL).exists()
            if is_new:
                self._write(JOURNAL, _line(self._about))
            sizes = {name: self._write(name, pieces.get(name, b"")) for name in self.names}
            if is_new:
                sync(self.folder)
            self._write(JOURNAL, _line({"sizes": sizes, "state": state}))
        except OSError as error:
            raise storage_error(self.folder, error) from error
        self.state = dict(state)

    def name_files(self, finals: Mapping[str, Path]) -> None:
        """Give the whole files their names, and remove the folder; a kill in between is made good by the next call.

        Args:
            finals: Name of a file -> its final path, which is replaced; the last is there last. Other files go.

        Raises:
            UserError: The files cannot be renamed.
        """
        try:
            if not self.is_whole:
                for name in finals:
                    if (self.folder / name).is_file():
                        sync(self.folder / name)
                sync(self.folder)
                self._write(JOURNAL, _line({"state": self.state, "whole": True}))
                self.is_whole = True
            for name, final in finals.items():
                if (self.folder / name).is_file():
                    os.replace(self.folder / name, final)
                    sync(final.parent)
            os.replace(self.folder / JOURNAL, self.folder / f".{JOURNAL}")
        except OSError as error:
            raise storage_error(self.folder, error) from error
        shutil.rmtree(self.folder, ignore_errors=True)

    def _write(self, name: str, data: bytes) -> int:
        """Add bytes to the end of a file, flush them, and return its size."""
        with (self.folder / name).open("ab") as file:
            if data:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            return file.tell()


@contextmanager
def opened_growing(folder: Path, about: Mapping[str, Any], names: Sequence[str], does: str) -> Generator[Growing]:
    """Yield the files of a folder, as far as they were made; the folder is removed if there is still no piece.

    Args:
        folder: The folder, which may be new.
        about: All that the files' bytes depend on, as JSON; other values are refused.
        names: The names of the files.
        does: What the caller does, for another that comes too early, such as `predicts there`.

    Raises:
        UserError: Another process works there, the files were made with something else, or a file is damaged.
    """
    part: Growing | None = None
    with alone(folder / ".lock", does):
        try:
            part = Growing(folder, about, names)
            yield part
        finally:
            if part is not None and not part.state and not part.is_whole:
                shutil.rmtree(folder, ignore_errors=True)


def _line(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8") + b"\n"
