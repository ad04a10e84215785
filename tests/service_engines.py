"""Engines for the tests of the service: one in this process whose failures a test chooses, and some for processes."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Event
from typing import Any

from crossflare.errors import UserError
from crossflare.service.worker import EngineGoneError


def reversed_words(text: str) -> str:
    return " ".join(reversed(text.split()))


class Obedient:
    """Reverses the words of a text; dies, hangs and refuses on command."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.starts = 0
        self.dead = False
        self.starting_fails = 0
        self.free = Event()
        self.free.set()

    def start(self) -> None:
        self.starts += 1
        if self.starting_fails:
            self.starting_fails -= 1
            raise EngineGoneError("it died")
        self.dead = False

    def translate(self, texts: Sequence[str], seconds: float) -> list[str]:
        self.calls.append(list(texts))
        if not self.free.wait(seconds):
            raise EngineGoneError("it took too long")
        if self.dead:
            raise EngineGoneError("it died")
        if any("poison" in text for text in texts):
            raise UserError("refused")
        return [reversed_words(text) for text in texts]

    def interrupt(self) -> None:
        self.dead = True
        self.free.set()

    def stop(self) -> None:
        self.dead = True


class Slow:
    """An engine for a process of its own: it hangs while a file is there, and dies at a text."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"engine": "slow", "licence": "none"}

    def translate(self, texts: Sequence[str], *, source: str, target: str) -> list[str]:
        while (self._folder / "hang").exists():
            time.sleep(0.01)
        if "poison" in texts:
            raise UserError("refused")
        if "fault" in texts:
            raise RuntimeError("a fault")
        return [reversed_words(text) for text in texts]


def refusing() -> Slow:
    raise UserError("no such model")
