"""The progress messages of a run, and their log: `made.jsonl`, one line for each step made.

All workers of a run, on any machine, add to the log, and each can read there what the others have made.
"""

import json
import os
import socket
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from crossflare import progress
from crossflare.errors import UserError
from crossflare.evaluation.folder import RunFiles
from crossflare.evaluation.predictions import first_look
from crossflare.experiment.running.board import Board
from crossflare.experiment.running.plan import Pace
from crossflare.experiment.steps.step import Result, Step
from crossflare.languages import find_language
from crossflare.progress import Advance, spoken

LOG = "made.jsonl"


@dataclass(frozen=True, slots=True)
class Made:
    """One step that was made."""

    id: str
    kind: str
    label: str
    seconds: float


def note(shared: Path, made: Made) -> None:
    """Add a line to the log, in one write, so that the lines of several workers do not mix.

    After a line that a kill cut off, a new line begins.
    """
    line = {
        "id": made.id,
        "kind": made.kind,
        "label": made.label,
        "seconds": round(made.seconds, 2),
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "by": f"{socket.gethostname()}:{os.getpid()}",
    }
    with (shared / LOG).open("a+b") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - 1))
        torn = file.read(1) not in (b"", b"\n")
        file.write(b"\n" * torn + json.dumps(line, ensure_ascii=False).encode() + b"\n")


class Reader:
    """A reader of the log as it grows."""

    def __init__(self, shared: Path) -> None:
        self._path = shared / LOG
        self._place = 0
        """The number of bytes already read."""

    def new(self) -> list[Made]:
        """Return the steps made since the last call; a line that cannot be read is skipped."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._place)
                read = file.read()
        except OSError:  # nothing was made yet
            return []
        whole = read[: read.rfind(b"\n") + 1]
        self._place += len(whole)
        return [made for line in whole.splitlines() if (made := _parsed(line)) is not None]


def _parsed(line: bytes) -> Made | None:
    try:
        values: dict[str, Any] = json.loads(line)
        return Made(str(values["id"]), str(values["kind"]), str(values["label"]), float(values["seconds"]))
    except (ValueError, TypeError, KeyError):
        return None


class News:
    """The messages about new steps on the board, made in this process or another."""

    def __init__(self, board: Board, advance: Advance, workers: int = 1) -> None:
        """Look for the first time: steps that are already done are not news.

        Args:
            board: The steps.
            advance: The function that advances their progress bar.
            workers: The number of workers that share the remaining steps.
        """
        self._board, self._advance, self._workers = board, advance, workers
        self._log, self._pace = Reader(board.shared), Pace()
        self._seconds = defaultdict[str, float](float)
        """Kind of step -> the seconds of all steps made since the first look."""
        board.refresh()
        self._shown = board.done
        self._failed = {failure.id for failure in board.failures}
        steps = self._steps()
        for made in self._log.new():
            if made.id in steps:
                self._pace.add(steps[made.id], made.seconds)
        advance(board.done, left=self._left())

    def refresh(self) -> None:
        """Look again and show what is new."""
        self._board.refresh()
        made = self._log.new()
        if not made and self._board.done == self._shown:
            self._say_failures()
            return
        steps = self._steps()
        known = [(steps[each.id], each) for each in made if each.id in steps]
        for step, each in known:
            self._pace.add(step, each.seconds)
            self._seconds[each.kind] += each.seconds
        left = self._left()
        self._advance(self._board.done - self._shown, left=left)
        self._shown = self._board.done
        rest = f"; about {spoken(left)} left" if left else ""
        for number, (step, each) in enumerate(known, self._board.done - len(known) + 1):
            if progress.is_displayed():
                progress.keep_line(f"step {max(1, number)} of {len(self._board.steps)} done: {_told(step, each)}{rest}")
        self._say_failures()

    def last(self) -> None:
        """Look for the last time and show the time of each kind of step."""
        self.refresh()
        if self._seconds:
            parts = ", ".join(f"{kind} {_took(seconds)}" for kind, seconds in self._seconds.items())
            progress.keep_line(f"time of the steps: {parts}")

    def _steps(self) -> dict[str, Step]:
        """Return the steps by their ids; a step that cells share is there once."""
        return {id: step for step in reversed(self._board.steps) if (id := step.known_id) is not None}

    def _left(self) -> float | None:
        once = {step.known_id or step.label: step for step in self._board.makeable}
        return self._pace.left(once.values(), self._workers)

    def _say_failures(self) -> None:
        if self._board.over:  # the error that ends the run shows it next
            return
        for failure in self._board.failures:
            if failure.id not in self._failed:
                self._failed.add(failure.id)
                progress.keep_line(f"failed: {failure.kind} {failure.label}: {failure.error}")


def _told(step: Step, made: Made) -> str:
    """Return a step and its time; for a prediction, also its score with the interval over the test rows."""
    score = "" if step.result is None else _score(step, step.result)
    return f"{score} ({_took(made.seconds)})" if score else f"{made.kind} {made.label} ({_took(made.seconds)})"


def _score(step: Step, result: Result) -> str:
    cell, metric = step.context.cell, step.context.data.task.main_metric
    path = step.files[0]
    try:
        record, found = RunFiles(step.context.folder).read_result(path)
        score = first_look(found, len(record.task["labels"]), metric)
        language = find_language(result.language).name
    except (UserError, KeyError):  # the report will show this error
        return ""
    points, low, high = (f"{100 * value:.1f}" for value in (score.score, score.low, score.high))
    name, where = metric.replace("_", " "), f", {cell}" if cell else ""
    return f"{language}  {result.method}  {name} {points} ({low}–{high}), seed {result.seed}{where}"


def _took(seconds: float) -> str:
    """Return a passed time as text, more precise than `spoken`."""
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s" if seconds < 600 else spoken(seconds)
