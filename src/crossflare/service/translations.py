"""The translations of one engine for all requests: each text once, kept for a while, and an engine that may fail.

All methods but the engine's own run in the event loop, so that nothing here needs a lock.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from crossflare.errors import UserError
from crossflare.service.limits import Limits
from crossflare.service.problems import ProblemError, internal, unavailable, unprocessable
from crossflare.service.worker import Engine, EngineGoneError

EACH = 100
"""What keeping any text at all costs, in characters."""
FEWEST, MANY = 8, 64
"""Texts in the first call of an engine, and the most in one; between them the number follows the engine's pace."""
QUICK, SLOW = 0.5, 2.0
"""Seconds: after a call that took less, the next has twice as many texts; after one that took more, half as many."""
FIRST_WAIT, LONGEST_WAIT = 1.0, 30.0
"""Seconds before an engine that failed to start is started again: twice as many each time."""
State = Literal["ready", "restarting", "stopped"]
_log = logging.getLogger(__name__)


class Cache:
    """Translations in memory, the least recently used dropped first."""

    def __init__(self, characters: int) -> None:
        """Take the most characters that are kept."""
        self._most, self._held = characters, 0
        self._kept: OrderedDict[str, str] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, text: str) -> str | None:
        """Return the translation of a text, if it is kept."""
        if (found := self._kept.get(text)) is not None:
            self._kept.move_to_end(text)
        return found

    def put(self, text: str, translation: str) -> None:
        """Keep a translation."""
        if text in self._kept:
            return
        self._kept[text] = translation
        self._held += len(text) + len(translation) + EACH
        while self._held > self._most and self._kept:
            other, said = self._kept.popitem(last=False)
            self._held -= len(other) + len(said) + EACH


class _Wanted:
    """A text that waits for its translation, and how many requests wait with it."""

    __slots__ = ("future", "waiters")

    def __init__(self) -> None:
        self.future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.waiters = 0


class Translations:
    """One engine behind all requests. When it dies or hangs, requests get 503 until it has started again."""

    def __init__(self, name: str, engine: Engine, limits: Limits) -> None:
        """Take the name of the engine, as `/languages` shows it, the engine, and the limits."""
        self.name, self._engine, self._limits = name, engine, limits
        self.state: State = "stopped"
        self._cache = Cache(limits.cached_characters)
        self._wanted: dict[str, _Wanted] = {}
        self._thread = ThreadPoolExecutor(1, f"translate {name}")
        self._working: asyncio.Task[None] | None = None
        self._size, self._wait = FEWEST, FIRST_WAIT

    def start(self) -> None:
        """Start the engine, before the event loop runs.

        Raises:
            UserError: The engine refuses its options, or dies.
        """
        try:
            self._thread.submit(self._engine.start).result()
        except EngineGoneError as error:
            raise UserError(
                f"the engine {self.name} does not start: {error}; try it with `crossflare translate`"
            ) from error
        self.state = "ready"

    def close(self) -> None:
        """End the engine."""
        self.state = "stopped"
        self._engine.interrupt()
        self._thread.submit(self._engine.stop)
        self._thread.shutdown()

    async def translate(self, texts: Sequence[str]) -> dict[str, str]:
        """Return the translation of each text.

        Raises:
            ProblemError: The engine is down (503), or refuses a text (422).
        """
        known = {text: said for text in dict.fromkeys(texts) if (said := self._cache.get(text)) is not None}
        missing = [text for text in dict.fromkeys(texts) if text not in known]
        if not missing:
            return known
        if self.state != "ready":
            raise self._down()
        waits = [self._want(text) for text in missing]
        try:
            for text, wait in zip(missing, waits, strict=True):
                known[text] = await asyncio.shield(wait.future)
        finally:
            for wait in waits:
                wait.waiters -= 1
        return known

    def _want(self, text: str) -> _Wanted:
        if text not in self._wanted:
            self._wanted[text] = _Wanted()
        self._wanted[text].waiters += 1
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())
        return self._wanted[text]

    async def _work(self) -> None:
        """Translate what is wanted until nothing is."""
        while self._wanted:
            for text in [text for text, wait in self._wanted.items() if not wait.waiters]:
                del self._wanted[text]  # the clients are gone
            texts = list(self._wanted)[: self._size]
            if not texts:
                return
            begin = time.monotonic()
            try:
                done: dict[str, str | Exception] = {**await self._call(texts)}
            except EngineGoneError as error:
                _log.warning("the engine %s is started again: %s", self.name, error)
                self._fail_all()
                await self._restart()
                return
            except Exception as error:  # a fault of ours: these texts fail, later ones are tried again
                _log.warning("the engine %s: %s", self.name, type(error).__name__)
                done = dict.fromkeys(texts, internal())
            took = time.monotonic() - begin
            self._size = (
                min(2 * self._size, MANY) if took < QUICK else max(self._size // 2, 1) if took > SLOW else self._size
            )
            for text, said in done.items():
                self._settle(text, said)

    async def _call(self, texts: list[str]) -> dict[str, str | Exception]:
        """Return what the engine says to some texts; a text that it refuses is found by asking for each alone."""
        loop = asyncio.get_running_loop()
        try:
            done = await loop.run_in_executor(
                self._thread, self._engine.translate, texts, self._limits.translate_seconds
            )
            return dict(zip(texts, done, strict=True))
        except UserError:
            if len(texts) == 1:
                return {texts[0]: unprocessable(f"the engine {self.name} cannot translate a text; give its source")}
        parts = [await self._call([text]) for text in texts]
        return {text: said for part in parts for text, said in part.items()}

    def _settle(self, text: str, said: str | Exception) -> None:
        wait = self._wanted.pop(text)
        if isinstance(said, str):
            self._cache.put(text, said)
            wait.future.set_result(said)
        else:
            wait.future.set_exception(said)
            wait.future.exception()  # it is seen, even if every client is gone

    def _fail_all(self) -> None:
        self._wait = FIRST_WAIT
        if self.state == "ready":
            self.state = "restarting"
        for text in list(self._wanted):
            self._settle(text, self._down())

    async def _restart(self) -> None:
        """Start the engine again, as often as it takes."""
        loop = asyncio.get_running_loop()
        while self.state == "restarting":
            try:
                await loop.run_in_executor(self._thread, self._engine.start)
            except (EngineGoneError, UserError) as error:
                _log.warning("the engine %s does not start: %s", self.name, type(error).__name__)
                await asyncio.sleep(self._wait)
                self._wait = min(2 * self._wait, LONGEST_WAIT)
            else:
                self._cache = Cache(self._limits.cached_characters)  # its files may be others now
                self.state = "ready"

    def _down(self) -> ProblemError:
        said = f"the engine {self.name}, which translates these texts, does not work now; try again, or give sources"
        return unavailable(said, self._wait)
