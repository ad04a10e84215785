"""Faults for the laws of `crossflare.disk.files`: the k-th call that changes the disk fails, or ends the process."""

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from crossflare.disk import files
from crossflare.errors import UserError

CHANGING = ("open", "mkdir", "write", "fsync", "chmod", "replace")  # in the order a save first uses them
CLEANING = ("unlink", "rmdir")
OLD, NEW = {"a.txt": "old a", "deep/er/b.txt": "old b"}, {"a.txt": "new a, longer", "c.txt": "new c"}


class _Watched:
    """A file whose writes pass through `before("write")`; everything else is the file's own."""

    def __init__(self, file: io.BufferedWriter, before: Callable[[str], None]) -> None:
        self._file, self._before = file, before

    def write(self, data: bytes) -> int:
        half = len(data) // 2
        self._file.write(data[:half])
        self._before("write")
        return half + self._file.write(data[half:])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> "_Watched":
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()


@contextmanager
def watched(before: Callable[[str], None], names: tuple[str, ...]) -> Iterator[None]:
    """Call `before(name)` ahead of every call of os.<name>, and in the middle of every write."""

    def wrap(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if name != "open" or args[1] & os.O_CREAT:  # opening what is there changes nothing
                before(name)
            return real(*args, **kwargs)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            if name == "write":
                patch.setattr(os, "fdopen", lambda *a, fdopen=os.fdopen, **k: _Watched(fdopen(*a, **k), before))
            else:
                patch.setattr(os, name, wrap(name, getattr(os, name)))
        yield


class Disk:
    """Runs a save with one fault, and reads what stands afterwards."""

    changing, cleaning, old, new = CHANGING, CHANGING + CLEANING, OLD, NEW

    @staticmethod
    def fill(content: dict[str, str]) -> Callable[[Path], None]:
        def write(folder: Path) -> None:
            for name, text in content.items():
                files.write_atomic(folder / name, text)

        return write

    @staticmethod
    def fail(save: Callable[[], None], at: int, error: int, sticky: bool, names: tuple[str, ...] = CHANGING) -> str:
        """Let call `at` (from 1) fail, all later ones too when sticky; return "done", "refused" or "untouched"."""
        count = 0

        def before(name: str) -> None:
            nonlocal count
            count += 1
            if count == at or (sticky and count > at):
                raise OSError(error, os.strerror(error))

        with watched(before, names):
            try:
                save()
                message = None
            except UserError as refused:
                message = str(refused)
        if message is None:
            return "done" if count >= at else "untouched"
        assert "\n" not in message
        assert os.strerror(error) in message
        return "refused"

    @staticmethod
    def crash(save: Callable[[], None], at: int, names: tuple[str, ...] = CHANGING + CLEANING) -> bool:
        """Run `save` in a child that ends without any clean-up at call number `at`; return whether it got there."""
        child = os.fork()
        if child == 0:
            count = 0

            def before(name: str) -> None:
                nonlocal count
                count += 1
                if count == at:
                    os._exit(9)

            try:
                with watched(before, names):
                    save()
                os._exit(0)
            finally:
                os._exit(1)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code in (0, 9), f"the save itself failed in the child: {code}"
        return code == 9

    @staticmethod
    def content(folder: Path) -> dict[str, str]:
        """Open the folder as a reader does and return its texts by name."""
        return {name: (folder / name).read_text() for name in files.open_dir(folder)}

    @staticmethod
    def names(folder: Path) -> list[str]:
        return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def disk() -> Disk:
    return Disk()
