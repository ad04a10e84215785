"""A translation engine in a process of its own: it may die or hang, and can be ended and started again."""

import contextlib
import signal
import sys
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Protocol

from crossflare.errors import UserError
from crossflare.translation.engines.protocol import Translator
from crossflare.translation.translate import for_long_texts

START_SECONDS = 600.0
"""The longest time that an engine may take to load its model."""
GOODBYE_SECONDS = 2.0
"""What a process gets to end its own programs before it is killed."""
Make = Callable[[], Translator]


class EngineGoneError(Exception):
    """The engine died, or took too long, and was ended."""


class Engine(Protocol):
    """What translates texts of one pair of languages, and can be started again."""

    def start(self) -> None:
        """Start it, after `stop` again; raise `UserError` if it refuses, `EngineGoneError` if it dies."""
        ...

    def translate(self, texts: Sequence[str], seconds: float) -> list[str]:
        """Return the translations; raise `UserError` for a text that it refuses, `EngineGoneError` if it is gone."""
        ...

    def interrupt(self) -> None:
        """Let a call in another thread raise `EngineGoneError` soon."""
        ...

    def stop(self) -> None:
        """End it."""
        ...


class EngineProcess:
    """A process with one engine; it ends with the process that started it."""

    def __init__(self, make: Make, source: str, target: str) -> None:
        """Take a function that makes the engine there, importable by another process, and the pair of languages."""
        self._make, self._pair = make, (source, target)
        self._process: Any = None
        self._pipe: Connection | None = None

    @property
    def pid(self) -> int | None:
        """The number of the process; None before its start."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """See `Engine.start`."""
        self.stop()
        context = get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_work, args=(other, self._make, self._pair), daemon=True)
        self._process.start()
        other.close()
        self._answer(START_SECONDS)

    def translate(self, texts: Sequence[str], seconds: float) -> list[str]:
        """See `Engine.translate`."""
        if self._pipe is None:
            raise EngineGoneError("it is not running")
        try:
            self._pipe.send(list(texts))
        except OSError as error:
            self.stop()
            raise EngineGoneError("it died") from error
        done = self._answer(seconds)
        if len(done) != len(texts):
            self.stop()
            raise EngineGoneError(f"it gave {len(done)} translations of {len(texts)} texts")
        return done

    def interrupt(self) -> None:
        """See `Engine.interrupt`."""
        if (process := self._process) is not None:
            process.terminate()

    def stop(self) -> None:
        """See `Engine.stop`."""
        process, self._process = self._process, None
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None
        if process is not None:
            process.terminate()
            process.join(GOODBYE_SECONDS)
            process.kill()
            process.join()
            process.close()

    def _answer(self, seconds: float) -> list[str]:
        assert self._pipe is not None
        try:
            if not self._pipe.poll(seconds):
                self.stop()
                raise EngineGoneError(f"it took more than {seconds:.0f} seconds")
            done, said = self._pipe.recv()
        except (OSError, EOFError) as error:
            self.stop()
            raise EngineGoneError("it died") from error
        if not done:
            raise UserError(said)
        return said


def _work(pipe: Connection, make: Make, pair: tuple[str, str]) -> None:
    """Translate what comes through the pipe, until it closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C at a terminal goes to all processes; ours ends this one
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))  # so that engines end their own programs
    with contextlib.suppress(EOFError, OSError):
        try:
            engine = for_long_texts(make())
        except UserError as error:
            pipe.send((False, str(error)))
            return
        pipe.send((True, []))
        while True:
            texts = pipe.recv()
            try:
                done = engine.translate(texts, source=pair[0], target=pair[1])
            except Exception as error:  # one text that an engine stumbles over does not end it for all others
                pipe.send((False, str(error) if isinstance(error, UserError) else type(error).__name__))
            else:
                pipe.send((True, done))
