"""Bars on a terminal, drawn by rich; they vanish when they are done, the lines above them stay."""

from dataclasses import dataclass
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.progress import TaskID as Task
from rich.text import Text

from crossflare.progress.lines import Key, printable


@dataclass(frozen=True)
class _Open:
    task: Task
    name: str
    """Its name, after the name of the bar that it is a part of."""
    counts: bool
    """Whether it has units; a bar without units is hidden while a bar inside it is open."""


class Bars:
    """A display on a terminal; see `Display`."""

    def __init__(self, console: Console) -> None:
        self._open: dict[Key, _Open] = {}
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=console,
            transient=True,
        )

    def __enter__(self) -> "Bars":
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._progress.stop()

    def begin(self, key: Key, description: str, total: int | None, done: int) -> None:
        """Draw a bar; hide the bar around it if that one only names the work."""
        around = self._around(key)
        name = f"{around.name}: {printable(description)}" if around else printable(description)
        if around:
            self._progress.update(around.task, visible=False)
        task = self._progress.add_task(name, total=total, completed=done, note="")
        self._open[key] = _Open(task, name, total is not None)

    def move(self, key: Key, done: int, note: str, left: float | None) -> None:
        """Move a bar."""
        fields: dict[str, Any] = {"note": printable(note)} if note else {}
        self._progress.update(self._open[key].task, completed=done, **fields)

    def end(self, key: Key, whole: bool) -> None:
        """Remove a bar; show the bar around it again."""
        self._progress.remove_task(self._open.pop(key).task)
        if around := self._around(key):
            self._progress.update(around.task, visible=True)

    def say(self, line: str) -> None:
        """Write a line above the bars."""
        self._progress.console.print(Text(printable(line)), soft_wrap=True)

    def _around(self, key: Key) -> _Open | None:
        """Return the innermost bar of a worker if it only names the work; otherwise None."""
        found = [each for (worker, _), each in list(self._open.items()) if worker == key[0]]
        return found[-1] if found and not found[-1].counts else None
