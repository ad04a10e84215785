"""Warnings and log lines while a command runs: crossflare's are shown as one line, those of other libraries are kept.

What happens depends on who speaks:

    crossflare, by `warnings` or `logging`     shown as one line, only once, and kept in the record of the results
    a library, by `warnings`                   kept in the record; it is for developers, or crossflare says it itself
    a library, by `logging`                    the same

Outside of `listening`, nothing is hidden: warnings appear as usual, and are kept as well.
"""

import logging
import sys
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from crossflare.libraries.late import when_imported

PACKAGE = "crossflare"
_HOME = str(Path(__file__).parents[1])
LIBRARIES = ("transformers", "huggingface_hub", "datasets", "peft", "accelerate", "bitsandbytes")
"""Libraries that print their log with handlers of their own."""
MOST = 20
"""The most lines that a record keeps."""
_collected: list[dict[str, None]] = []
"""The lines of each open `collecting`, the innermost last."""


def so_far() -> list[str]:
    """Return the lines that the innermost `collecting` has kept so far."""
    return list(_collected[-1])[:MOST] if _collected else []


@contextmanager
def collecting() -> Generator[None]:
    """Keep every warning and log line inside the block, from any library; see `so_far`."""
    _collected.append({})
    log = _Log(lambda line, ours: _keep(line))
    root = logging.getLogger()
    with warnings.catch_warnings():
        show = warnings.showwarning

        def hear(message: Warning | str, category: type[Warning], filename: str, *more: Any, **named: Any) -> None:
            _keep(_line(message, category))
            show(message, category, filename, *more, **named)

        warnings.showwarning = hear
        root.addHandler(log)
        try:
            yield
        finally:
            root.removeHandler(log)
            _collected.pop()


@contextmanager
def listening(tell: Callable[[str], None]) -> Generator[None]:
    """Pass each of crossflare's lines to `tell` once inside the block; show no other warning or log line."""
    told: set[str] = set()

    def pass_on(line: str, ours: bool) -> None:
        if ours and line not in told:
            told.add(line)
            tell(line)

    def hear(message: Warning | str, category: type[Warning], filename: str, *more: Any, **named: Any) -> None:
        pass_on(_line(message, category), _is_ours(category, filename))

    log, root = _Log(pass_on), logging.getLogger()
    root.addHandler(log)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = hear
        for name in LIBRARIES:
            _take_over(name)
        try:
            yield
        finally:
            root.removeHandler(log)


def _take_over(name: str) -> None:
    """Send a library's log to the root logger alone, now or as soon as the library is imported."""

    def reroute(module: object) -> None:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True

    if name in sys.modules:
        reroute(sys.modules[name])
    elif name not in _waiting:
        _waiting.add(name)
        when_imported(name, reroute)


_waiting: set[str] = set()


class _Log(logging.Handler):
    """A handler that gives each warning to a function: one line, and whether it is crossflare's."""

    def __init__(self, give: Callable[[str, bool], None]) -> None:
        super().__init__(logging.WARNING)
        self._give = give

    def emit(self, record: logging.LogRecord) -> None:
        self._give(" ".join(record.getMessage().split()), record.name.partition(".")[0] == PACKAGE)


def _keep(line: str) -> None:
    for lines in _collected[-1:]:
        lines[line] = None


def _line(message: Warning | str, category: type[Warning]) -> str:
    said = " ".join(str(message).split())
    return (
        said if category is UserWarning or category.__module__.startswith(PACKAGE) else f"{category.__name__}: {said}"
    )


def _is_ours(category: type[Warning], filename: str) -> bool:
    here = filename.startswith(_HOME) and issubclass(category, UserWarning)
    return here or category.__module__.startswith(PACKAGE)
