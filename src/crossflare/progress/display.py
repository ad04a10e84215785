"""What shows progress, wherever it shows it."""

from math import ceil
from typing import Protocol

Key = tuple[int, int]
"""Names a bar: the worker it runs in (0: this process), and its number there."""


class Display(Protocol):
    """Bars that begin, move and end; one that begins while another of its worker is open is a part of it."""

    def begin(self, key: Key, description: str, total: int | None, done: int) -> None:
        """Open a bar, of which `done` units are done already."""
        ...

    def move(self, key: Key, done: int, note: str, left: float | None) -> None:
        """Say how many units are done in all, and how many seconds the rest will take where that is known."""
        ...

    def end(self, key: Key, whole: bool) -> None:
        """Close a bar; `whole` is False where an error broke it off."""
        ...

    def say(self, line: str) -> None:
        """Write a line that stays."""
        ...


def spoken(seconds: float) -> str:
    """Return a time as a person says it, rounded up to the minute from the first one on."""
    if seconds < 60:
        return f"{ceil(seconds)} s"
    hours, minutes = divmod(ceil(seconds / 60), 60)
    return f"{hours:,} h {minutes} min" if hours else f"{minutes} min"


def printable(text: str) -> str:
    """Return a text as one line without control characters, which could drive a terminal."""
    return "".join(sign if sign.isprintable() else " " for sign in text)
