"""A call of ours that a library says will go away fails the test: as a warning, or as a line in the library's log.

Whose call it was is read from the stack: ours, if the first frame outside of the library that complains is ours.
What one library does with another is none of our business, and neither shown nor counted.
"""

import logging
import re
import sys
import warnings
from collections.abc import Generator, Sequence
from inspect import currentframe
from pathlib import Path
from typing import Any, TextIO

import pytest

LOGGING = ("transformers", "peft", "accelerate", "datasets", "huggingface_hub")
"""Libraries that say such things through their loggers."""
GOING = re.compile(r"deprecat|will be removed", re.IGNORECASE)
KINDS = (DeprecationWarning, PendingDeprecationWarning, FutureWarning)
BETWEEN = ("logging", "warnings", "functools", "contextlib")
"""Modules that stand between a call and the complaint, and torch where another library complains: it calls modules."""

LISTENER = "crossflare.libraries.heard"
"""Our module that hands on what it hears."""


def caller(ours: Sequence[Path]) -> str | None:
    """Return file and line of the call that a library complains of, if a file in the folders `ours` made it."""
    complains, frame = "", currentframe()
    while frame is not None:
        path, module = frame.f_code.co_filename, str(frame.f_globals.get("__name__", ""))
        name = module.partition(".")[0]
        between = path == __file__ or name in BETWEEN or module == LISTENER
        if not between and not (complains and name == "torch"):
            if any(Path(path).is_relative_to(folder) for folder in ours):
                return f"{path}:{frame.f_lineno}"
            complains = complains or name
            if name != complains or name == "_pytest":  # which hands on what a test was asked to listen for
                return None
        frame = frame.f_back
    return None


class _Log(logging.Handler):
    """Hears what the libraries log."""

    def __init__(self, found: list[str], ours: Sequence[Path]) -> None:
        super().__init__(logging.WARNING)
        self.found, self.ours = found, ours

    def emit(self, record: logging.LogRecord) -> None:
        if GOING.search(said := record.getMessage()) and (place := caller(self.ours)):
            self.found.append(f"{place}: {said}")


class Deprecations:
    """The plugin: listens while a test is set up, called and torn down.

    Args:
        ours: Folders of our own code.
    """

    def __init__(self, ours: Sequence[Path]) -> None:
        self.found: list[str] = []
        self.ours = ours
        self.log = _Log(self.found, ours)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        shown = warnings.showwarning
        self.found.clear()
        if (hf := sys.modules.get("transformers.utils.logging")) is not None:
            hf.warning_once.cache_clear()  # what it said to the last test it says to this one too

        def show(
            message: Warning | str,
            kind: type[Warning],
            path: str,
            line: int,
            file: TextIO | None = None,
            text: str | None = None,
        ) -> None:
            if not issubclass(kind, KINDS):
                shown(message, kind, path, line, file, text)
            elif place := caller(self.ours):
                self.found.append(f"{place}: {kind.__name__}: {message}")

        loggers = [logging.getLogger(name) for name in LOGGING]
        for logger in loggers:
            logger.addHandler(self.log)
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(warnings, "showwarning", show)
                return (yield)
        finally:
            for logger in loggers:
                logger.removeHandler(self.log)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self) -> Generator[None, Any, Any]:
        return self._judge((yield))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self) -> Generator[None, Any, Any]:
        return self._judge((yield))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self) -> Generator[None, Any, Any]:
        return self._judge((yield))

    def _judge(self, result: Any) -> Any:
        if self.found:
            said = "\n".join(dict.fromkeys(self.found))
            self.found.clear()
            pytest.fail(f"our own calls are deprecated:\n{said}", pytrace=False)
        return result
