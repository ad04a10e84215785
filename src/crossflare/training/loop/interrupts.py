"""A signal that asks training to end waits until the step under way is made and saved."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

_HANG_UP = getattr(signal, "SIGHUP", None)
"""What a process gets whose terminal was closed; Windows knows no such thing."""


_ENDING = [number for number in (signal.SIGINT, signal.SIGTERM, _HANG_UP) if number is not None]


class Interrupts:
    """While entered, remembers the first signal; a second one acts at once."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._old: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # Python lets no other thread set handlers
            for number in _ENDING:
                if number != _HANG_UP or signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
                    self._old[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
        if error is None:  # a signal after the last look is not forgotten
            self.act()

    def act(self) -> None:
        """Raise what the signal stands for, if there was one."""
        if self.received == signal.SIGINT:
            raise KeyboardInterrupt
        if self.received is not None:
            raise SystemExit(128 + self.received)

    def _note(self, number: int, frame: FrameType | None) -> None:
        again = self.received is not None
        self.received = number
        if again:
            self.act()
