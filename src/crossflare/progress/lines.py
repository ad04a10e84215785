"""Progress as plain lines, for a file or a pipe: one for each finished piece of work, at least one in 30 seconds."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil
from threading import Event, Lock, Thread
from types import TracebackType
from typing import IO, Protocol

Key = tuple[int, int]
"""The name of a bar: the worker that it runs in (0: this process), and its number there."""


class Display(Protocol):
    """Bars that begin, move and end; a bar that begins while another bar of its worker is open is a part of it."""

    def begin(self, key: Key, description: str, total: int | None, done: int) -> None:
        """Open a bar that already has `done` units done."""
        ...

    def move(self, key: Key, done: int, note: str, left: float | None) -> None:
        """Say how many units are done in all, and how many seconds the rest will take, if that is known."""
        ...

    def end(self, key: Key, whole: bool) -> None:
        """Close a bar; `whole` is False if an error stopped it."""
        ...

    def say(self, line: str) -> None:
        """Write a line that stays."""
        ...


SILENCE = 25.0
"""Seconds without a line after which one is written."""
FIRST = 2.0
"""Seconds after which work gets its first line; shorter work needs no line."""
BEAT = 1.0
"""Seconds between two checks of the clock."""


@dataclass
class _Open:
    description: str
    total: int | None
    before: int
    """Units that were done when it began."""
    began: float
    done: int = field(init=False)
    note: str = ""
    known: tuple[float, float] | None = None
    """When the caller last said how many seconds are left, and that number."""
    announced: bool = False

    def __post_init__(self) -> None:
        self.done = self.before

    def left(self, now: float) -> float | None:
        """Return how many seconds the rest takes: as the caller says, or else at the rate so far."""
        if self.known is not None:
            return max(0.0, self.known[1] - (now - self.known[0]))
        if self.total is None or self.done <= self.before:
            return None
        return (now - self.began) / (self.done - self.before) * max(0, self.total - self.done)

    def __str__(self) -> str:
        counted = (
            f"{self.done:,} of {self.total:,}" if self.total is not None else f"{self.done:,}" if self.done else ""
        )
        return " ".join(filter(None, [self.description, counted, f"({self.note})" if self.note else ""]))


class Lines:
    """A display as lines; see `Display`. If a line cannot be written, no more lines come, but the work goes on."""

    def __init__(
        self,
        file: IO[str],
        *,
        muted: bool = False,
        clock: Callable[[], float] = time.monotonic,
        over: Callable[[float], bool] | None = None,
    ) -> None:
        """Start the clock.

        Args:
            file: The file that the lines go to.
            muted: Write no lines.
            clock: A function that returns seconds.
            over: A function that waits so many seconds for the end, and returns whether it has come; None: the end is
                that of the `with` block.
        """
        self._file, self._muted, self._clock = file, muted, clock
        self._open: dict[Key, _Open] = {}
        self._began = self._last = clock()
        self._lock = Lock()
        self._stop = Event()
        self._over = over or self._stop.wait
        self._thread = Thread(target=self._keep_time, name="progress", daemon=True)

    def __enter__(self) -> "Lines":
        if not self._muted:
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def begin(self, key: Key, description: str, total: int | None, done: int) -> None:
        """Open a bar."""
        with self._lock:
            self._open[key] = _Open(description, total, done, self._clock())

    def move(self, key: Key, done: int, note: str, left: float | None) -> None:
        """Note how far a bar is."""
        with self._lock:
            bar = self._open[key]
            bar.done, bar.note = done, note or bar.note
            if left is not None:
                bar.known = (self._clock(), left)

    def end(self, key: Key, whole: bool) -> None:
        """Close a bar; if it was announced, write that it is done."""
        with self._lock:
            bar = self._open.pop(key)
            if bar.announced:
                took = spoken(self._clock() - bar.began)
                self._write(f"{bar}: done in {took}" if whole else f"{bar}: stopped after {took}")

    def say(self, line: str) -> None:
        """Write a line."""
        with self._lock:
            self._write(line)

    def beat(self) -> None:
        """Write how far everything is, if it is time."""
        with self._lock:
            now = self._clock()
            outer = next(iter(self._open.values()), None)
            new = outer is not None and not outer.announced and now - outer.began >= FIRST
            if new or now - self._last >= SILENCE:
                for line in self._paths(now) or [f"working, {spoken(now - self._began)} so far"]:
                    self._write(line)
                if outer is not None:
                    outer.announced = True

    def _paths(self, now: float) -> list[str]:
        """Return a line for each worker; each begins with the work of this process itself."""
        by_worker: dict[int, list[_Open]] = {}
        for (worker, _), bar in self._open.items():
            by_worker.setdefault(worker, []).append(bar)
        own = by_worker.pop(0, [])
        return [_path([*own, *bars], now) for bars in (by_worker.values() or ([[]] if own else []))]

    def _write(self, line: str) -> None:
        if self._muted:
            return
        self._last = self._clock()
        try:
            self._file.write(printable(line) + "\n")
            self._file.flush()
        except (OSError, ValueError):  # the reader has gone, the disk is full, the file is closed
            self._muted = True

    def _keep_time(self) -> None:
        while not self._over(BEAT):
            self.beat()


def _path(bars: list[_Open], now: float) -> str:
    """Return a line on how far some bars are, each a part of the one before."""
    inner, outer = bars[-1].left(now), bars[0].left(now)
    line = ": ".join(map(str, bars))
    if inner is None and outer is None:
        return f"{line}, {spoken(now - bars[0].began)} so far"
    line += f", about {spoken(inner)} left" if inner is not None else ""
    return f"{line}; about {spoken(outer)} left in all" if outer is not None and len(bars) > 1 else line


def spoken(seconds: float) -> str:
    """Return a time as a person says it; from one minute on, it is rounded up to the minute."""
    if seconds < 60:
        return f"{ceil(seconds)} s"
    hours, minutes = divmod(ceil(seconds / 60), 60)
    return f"{hours:,} h {minutes} min" if hours else f"{minutes} min"


def printable(text: str) -> str:
    """Return a text as one line without control characters, which could drive a terminal."""
    return "".join(sign if sign.isprintable() else " " for sign in text)
