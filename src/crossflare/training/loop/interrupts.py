"""Signals that ask training to end: they wait until the current step is made and saved."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

_HANG_UP = getattr(signal, "SIGHUP", None)
"""The signal that a process gets when its terminal is closed; Windows does not have it."""


_ENDING = [number for number in (signal.SIGINT, signal.SIGTERM, _HANG_UP) if number is not None]


class Interrupts:
    """A context that remembers the first signal; a second signal acts at once."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._old: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # Python lets only the main thread set handlers
            for number in _ENDING:
                if number != _HANG_UP or signal.getsignal(number) != signal.SIG_IGN:  # under nohup it stays ignored
                    self._old[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
        if error is None:  # a signal after the last check is not lost
            self.act()

    def act(self) -> None:
        """Raise the exception that the signal stands for, if there was a signal."""
        if self.received == signal.SIGINT:
            raise KeyboardInterrupt
        if self.received is not None:
            raise SystemExit(128 + self.received)

    def _note(self, number: int, frame: FrameType | None) -> None:
        again = self.received is not None
        self.received = number
        if again:
            self.act()
