"""Progress bars with the time left: silent in a library, shown once the command line asks for them."""

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

Item = TypeVar("Item")


class Advance(Protocol):
    """Called with the number of units done since the last call."""

    def __call__(self, done: int, /, note: str = "") -> None:
        """Move the bar; `note`, such as a speed, is shown behind it."""
        ...


_display: Progress | None = None


@contextmanager
def display(console: Console | None = None) -> Generator[None]:
    """Show the bars of everything that runs inside, on standard error."""
    global _display
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console or Console(stderr=True), transient=True) as shown:
        _display = shown
        try:
            yield
        finally:
            _display = None


@contextmanager
def bar(description: str, total: int | None) -> Generator[Advance]:
    """Yield a function to call with the number of units done; draws nothing outside of `display`."""
    shown = _display
    if shown is None:
        yield lambda done, /, note="": None
        return
    task = shown.add_task(description, total=total, note="")

    def advance(done: int, /, note: str = "") -> None:
        fields: dict[str, Any] = {"note": note} if note else {}
        shown.update(task, advance=done, **fields)

    try:
        yield advance
    finally:
        shown.remove_task(task)


def track(items: Iterable[Item], description: str, total: int | None = None) -> Iterator[Item]:
    """Yield `items` one by one under a bar."""
    with bar(description, total if total is not None else (len(items) if hasattr(items, "__len__") else None)) as done:  # type: ignore[arg-type]
        for item in items:
            yield item
            done(1)
