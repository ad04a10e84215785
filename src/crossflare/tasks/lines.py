"""The bytes and lines of a file, unpacked where its name ends in .gz, .bz2, .xz or .zst."""

import bz2
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

from crossflare.errors import UserError

_AT_ONCE = 1 << 10
"""Packed bytes unpacked at once: they give at most 32 MB."""


class Zst(io.RawIOBase):
    """The unpacked bytes of a file.

    Raises:
        UserError: The package zstandard is not installed.
        EOFError, OSError: (when read) The file ends in the middle of a frame, or is damaged.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._library: Any = import_module("zstandard")
        except ImportError as error:
            advice = 'pip install "crossflare[files]", or unpack the file'
            raise UserError(f"{path}: reading .zst needs the package zstandard; {advice}") from error
        self._file = path.open("rb")
        self._frame: Any = None
        self._packed = self._ready = b""

    def readable(self) -> bool:
        """Whether it can be read: always."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Fill a buffer and return how many bytes were written; 0: the end."""
        while not self._ready:
            self._packed = self._packed or self._file.read(_AT_ONCE)
            if not self._packed:
                if self._frame is not None:
                    raise EOFError("it ends before its end was marked")
                return 0
            self._unpack()
        count = min(len(buffer), len(self._ready))
        buffer[:count], self._ready = self._ready[:count], self._ready[count:]
        return count

    def _unpack(self) -> None:
        """Unpack what was read, up to the end of a frame: a file may have several frames."""
        self._frame = self._frame or self._library.ZstdDecompressor().decompressobj()
        try:
            self._ready = self._frame.decompress(self._packed)
        except self._library.ZstdError as error:
            raise OSError(str(error)) from error
        self._packed = self._frame.unused_data if self._frame.eof else b""
        self._frame = None if self._frame.eof else self._frame

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            self._file.close()
        super().close()


Errors = Literal["strict", "surrogateescape"]
"""What to do about bytes that are not UTF-8: refuse the file, or let `wrong_byte` find them in the text."""
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
PACKED: dict[str, Callable[[Path], Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open, ".zst": Zst}
"""Ending of a packed file -> what opens it."""
_RATIO, _FREE = 100, 100_000_000
"""A file may unpack to this many times its size, and to this many bytes (100 MB) whatever its size."""


class _Unpacked(io.RawIOBase):
    """The unpacked bytes of a file, up to a limit."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO = PACKED[path.suffix.lower()](path)
        self._read = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        try:
            read = cast(int, self._file.readinto(buffer))  # type: ignore[attr-defined]
        except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
            what = self._path.suffix.lower()
            raise UserError(
                f"{self._path}: expected a {what} file, but it is damaged ({error}); pack it again"
            ) from error
        self._read += read
        check_unpacked(self._path, self._read)
        return read

    def close(self) -> None:
        self._file.close()
        super().close()


def check_unpacked(path: Path, count: int) -> None:
    """Refuse a packed file that unpacks to so many bytes that it cannot hold plain text."""
    if count > max(_FREE, _RATIO * path.stat().st_size):
        raise UserError(
            f"{path}: unpacks to more than {_RATIO} times its size and more than {_FREE // 1_000_000} MB, "
            "which texts do not; unpack it yourself if you trust it"
        )


def open_bytes(path: Path) -> BinaryIO:
    """Open a file for reading, unpacked; reading raises `UserError` for a packed file that is damaged or too large."""
    if path.suffix.lower() not in PACKED:
        return path.open("rb")
    return cast(BinaryIO, io.BufferedReader(_Unpacked(path), 1 << 16))


def unpacked_name(path: Path) -> str:
    """Return the name of a file without the ending of its packing."""
    return path.stem if path.suffix.lower() in PACKED else path.name


def read_lines(path: Path, errors: Errors = "strict") -> Iterator[str]:
    """Yield the lines of a UTF-8 file, without the line feed, which alone ends a line, and without a byte order mark.

    Raises:
        UserError: The file is not UTF-8 and `errors` is `strict`; the message names the line and the byte.
    """
    offset, utf16 = 0, False
    with open_bytes(path) as file:
        for number, line in enumerate(file, 1):
            if number == 1:
                utf16 = line[:2] in (b"\xff\xfe", b"\xfe\xff")
                skipped = len(BYTE_ORDER_MARK) if line.startswith(BYTE_ORDER_MARK) else 0
                line, offset = line[skipped:], skipped
                if not line:
                    return
            try:
                yield line.decode("utf-8", errors).removesuffix("\n")
            except UnicodeDecodeError as error:
                hint = " (it starts as UTF-16 does)" if utf16 else ""
                raise UserError(
                    f"{path}:{number}: not UTF-8: byte 0x{line[error.start]:02x} at offset {offset + error.start}"
                    f"{hint}; save the file as UTF-8"
                ) from error
            offset += len(line)


def lines_without_returns(path: Path, errors: Errors = "strict") -> Iterator[str]:
    """Return the lines of a file, without the CR where every line ends in CR LF."""
    with open_bytes(path) as file:
        returns = all(line.endswith(b"\r\n") for line in file)
    lines = read_lines(path, errors)
    return (line[:-1] for line in lines) if returns else lines


def wrong_byte(text: str) -> str:
    """Return what is wrong with a text that was read with `surrogateescape`; empty if it was UTF-8."""
    found = None if text.isascii() else _WRONG.search(text)
    return "" if found is None else f"not UTF-8: byte 0x{ord(found[0]) - 0xDC00:02x}; save the file as UTF-8"


_WRONG = re.compile("[\udc80-\udcff]")


def without_blank_end(lines: Iterable[str]) -> Iterator[str]:
    """Yield lines up to the last that is not blank."""
    blank: list[str] = []
    for line in lines:
        if not line.strip():
            blank.append(line)
            continue
        yield from blank
        blank.clear()
        yield line
