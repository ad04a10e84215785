"""Files packed by Zstandard, which Python unpacks itself only from 3.14 on."""

import io
from importlib import import_module
from pathlib import Path
from typing import Any

from crossflare.errors import UserError

_AT_ONCE = 1 << 10
"""Packed bytes unpacked at once: at most 32 MB come out of so many."""


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
        """Fill a buffer and return how many bytes there are; 0: the end."""
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
        """Unpack what was read, up to the end of a frame: a file may have several."""
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
