"""Progress: silent in a library, shown on standard error once the command line asks for it.

A terminal and a notebook get bars, anything else (a file, a pipe, a notebook without ipywidgets) gets plain lines.
The process that started a worker shows the worker's progress.
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import count
from threading import local
from typing import TYPE_CHECKING, Protocol, TypeVar

from rich.console import Console

from crossflare.progress.lines import Display, Lines, spoken

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from crossflare.progress.bars import Bars

__all__ = [
    "Advance",
    "bar",
    "display",
    "is_displayed",
    "keep_line",
    "quietly",
    "relay_to_display",
    "send_to",
    "spoken",
    "track",
]

Item = TypeVar("Item")


class Advance(Protocol):
    """The function to call with the number of units done since the last call."""

    def __call__(self, done: int, /, note: str = "", left: float | None = None) -> None:
        """Move the bar.

        Args:
            done: Units done since the last call.
            note: A note, such as a speed; it is shown after the bar until there is another.
            left: Seconds that the rest will take, if the caller knows better than the bar's own rate.
        """
        ...


_display: Display | None = None
_numbers = count()


@contextmanager
def display(console: Console | None = None) -> Generator[None]:
    """Show the progress of everything that runs inside, on standard error."""
    global _display
    console, before = console or Console(stderr=True), _display
    with _shown_on(console) as is_displayed:
        _display = is_displayed
        try:
            yield
        finally:
            _display = before


def _shown_on(console: Console) -> "Bars | Lines":
    if not _draws(console):
        return Lines(console.file, muted=console.quiet)
    from crossflare.progress.bars import Bars

    return Bars(console)


def _draws(console: Console) -> bool:
    """Return whether bars can be drawn there; in a notebook, rich draws them in a widget and needs ipywidgets."""
    if console.is_jupyter:
        return find_spec("ipywidgets") is not None
    return console.is_terminal and not console.is_dumb_terminal


def is_displayed() -> bool:
    """Return whether progress is shown."""
    return _display is not None


def keep_line(line: str) -> None:
    """Write a line that stays, such as one about a finished step."""
    if _display is not None:
        _display.say(line)


@contextmanager
def bar(description: str, total: int | None, done: int = 0) -> Generator[Advance]:
    """Yield a function to call with the number of units done; outside of `display` it shows nothing.

    Args:
        description: The work that is going on.
        total: Units in all; None: not known, or bars inside this one count.
        done: Units that were done before.
    """
    display, reached = _display, done
    heard: Callable[[], None] | None = getattr(_quiet, "heard", None)
    if heard is not None:
        yield lambda done, /, note="", left=None: heard()
        return
    if display is None:
        yield lambda done, /, note="", left=None: None
        return
    key = (0, next(_numbers))
    display.begin(key, description, total, done)

    def advance(done: int, /, note: str = "", left: float | None = None) -> None:
        nonlocal reached
        reached += done
        display.move(key, reached, note, left)

    whole = False
    try:
        yield advance
        whole = True
    finally:
        display.end(key, whole)


_quiet = local()


@contextmanager
def quietly(heard: Callable[[], None]) -> Generator[None]:
    """Show no bar of this thread inside; call `heard` where one would move: it may raise, to end the work there."""
    before: Callable[[], None] | None = getattr(_quiet, "heard", None)
    _quiet.heard = heard
    try:
        yield
    finally:
        _quiet.heard = before


def track(items: Iterable[Item], description: str, total: int | None = None) -> Iterator[Item]:
    """Yield `items` one by one under a bar."""
    with bar(description, total if total is not None else (len(items) if hasattr(items, "__len__") else None)) as done:  # type: ignore[arg-type]
        for item in items:
            yield item
            done(1)


def send_to(connection: "Connection") -> None:
    """Send the progress of this process, a worker, to another process from now on."""
    global _display
    from crossflare.progress.relay import Sender

    _display = Sender(connection)


@contextmanager
def relay_to_display(workers: int) -> Generator[tuple["Connection", ...]]:
    """Yield a connection for each worker process to `send_to`; show here what comes, until the end."""
    if _display is None:
        yield ()
        return
    from crossflare.progress.relay import relayed

    with relayed(workers, _display) as connections:
        yield connections
