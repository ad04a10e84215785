"""Progress of worker processes: each sends its progress through its own pipe, and the first process shows it.

No pipe is shared: a worker that is killed while it writes blocks no other.
"""

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from threading import Event, Thread
from typing import Any

from crossflare.progress.lines import Display, Key

OFTEN = 0.5
"""Seconds between two messages about how far a bar is."""


class Sender:
    """A `Display` in a worker process, which sends everything to the process that shows it."""

    def __init__(self, connection: Connection, clock: Callable[[], float] = time.monotonic) -> None:
        self._connection, self._clock = connection, clock
        self._sent: dict[Key, float] = {}
        """The time of a bar's last message."""

    def begin(self, key: Key, description: str, total: int | None, done: int) -> None:
        """Open a bar."""
        self._send("begin", key, description, total, done)

    def move(self, key: Key, done: int, note: str, left: float | None) -> None:
        """Send how far a bar is, unless that was sent just now."""
        now = self._clock()
        if now - self._sent.get(key, -OFTEN) >= OFTEN:
            self._sent[key] = now
            self._send("move", key, done, note, left)

    def end(self, key: Key, whole: bool) -> None:
        """Close a bar."""
        self._sent.pop(key, None)
        self._send("end", key, whole)

    def say(self, line: str) -> None:
        """Send a line to be written."""
        self._send("say", line)

    def _send(self, *message: Any) -> None:
        with suppress(OSError):  # no process shows it any more; the work goes on
            self._connection.send(message)


@contextmanager
def relayed(workers: int, display: Display) -> Generator[tuple[Connection, ...]]:
    """Yield the sending end of a pipe for each worker; show what comes through the pipes, until the end."""
    pipes = [get_context("spawn").Pipe(duplex=False) for _ in range(workers)]
    over = Event()
    readers = [reader for reader, _ in pipes]
    thread = Thread(target=show_relayed, args=(readers, display, over.is_set), name="progress of workers", daemon=True)
    thread.start()
    try:
        yield tuple(writer for _, writer in pipes)
    finally:
        over.set()
        thread.join()
        for ends in pipes:
            for end in ends:
                end.close()


def show_relayed(readers: Sequence[Connection], display: Display, over: Callable[[], bool]) -> None:
    """Show what the workers send until it is over; then close all bars that are still open."""
    workers = {reader: number for number, reader in enumerate(readers, 1)}
    open_bars = dict[Key, None]()
    while workers:
        ready: list[Any] = wait(list(workers), timeout=OFTEN / 5)
        if not ready and over():
            break
        for reader in ready:
            try:
                message = reader.recv()
            except (EOFError, OSError):
                del workers[reader]
                continue
            _apply(message, workers[reader], display, open_bars)
    for key in reversed(open_bars):
        display.end(key, False)


def _apply(message: Any, worker: int, display: Display, open_bars: dict[Key, None]) -> None:
    """Apply a worker's message to a display; `open_bars` are the bars that have begun and not ended."""
    match message:
        case "say", line:
            display.say(line)
        case "begin", (_, number), description, total, done:
            open_bars[worker, number] = None
            display.begin((worker, number), description, total, done)
        case "move", (_, number), done, note, left:
            display.move((worker, number), done, note, left)
        case "end", (_, number), whole:
            del open_bars[worker, number]
            display.end((worker, number), whole)
        case _:
            raise ValueError(f"unknown message {message!r}")
