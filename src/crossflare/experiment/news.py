"""What a run says while it goes on: a line for each step that is finished, with its score, or has failed."""

from collections import defaultdict

from crossflare import progress
from crossflare.errors import UserError
from crossflare.evaluation.first_look import first_look
from crossflare.evaluation.predictions import load_predictions
from crossflare.evaluation.record import load_record
from crossflare.experiment.board import Board, id_of
from crossflare.experiment.cells import cell_of
from crossflare.experiment.made import Made, Reader
from crossflare.experiment.pace import Pace
from crossflare.experiment.predictions import Prediction
from crossflare.experiment.steps import Step
from crossflare.languages import find
from crossflare.progress import Advance, spoken


class News:
    """Looks at the board, and says what is new on it: whoever made it, in this process or in another."""

    def __init__(self, board: Board, advance: Advance, workers: int = 1) -> None:
        """Look for the first time: what is done already is no news.

        Args:
            board: The steps.
            advance: Of their bar.
            workers: How many share what is left.
        """
        self._board, self._advance, self._workers = board, advance, workers
        self._log, self._pace = Reader(board.shared), Pace()
        self._seconds = defaultdict[str, float](float)
        """By kind of step, of all that was made since."""
        board.look()
        self._shown = board.done
        self._failed = {failure.id for failure in board.failures}
        steps = self._steps()
        for made in self._log.new():
            if made.id in steps:
                self._pace.add(steps[made.id], made.seconds)
        advance(board.done, left=self._left())

    def look(self) -> None:
        """Look again, and say what is new."""
        self._board.look()
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
            if progress.shown():
                progress.say(f"step {max(1, number)} of {len(self._board.steps)} done: {_told(step, each)}{rest}")
        self._say_failures()

    def last(self) -> None:
        """Look for the last time, and say where the time went."""
        self.look()
        if self._seconds:
            parts = ", ".join(f"{kind} {_took(seconds)}" for kind, seconds in self._seconds.items())
            progress.say(f"time of the steps: {parts}")

    def _steps(self) -> dict[str, Step]:
        """Return the steps by their ids; what cells share stands once."""
        return {id: step for step in reversed(self._board.steps) if (id := id_of(step)) is not None}

    def _left(self) -> float | None:
        once = {id_of(step) or step.label: step for step in self._board.makeable}
        return self._pace.left(once.values(), self._workers)

    def _say_failures(self) -> None:
        if self._board.over:  # the error that ends the run says it next
            return
        for failure in self._board.failures:
            if failure.id not in self._failed:
                self._failed.add(failure.id)
                progress.say(f"failed: {failure.kind} {failure.label}: {failure.error}")


def _told(step: Step, made: Made) -> str:
    """Return what was made, in which time; of a prediction its score, with the interval over the test rows."""
    score = _score(step) if isinstance(step, Prediction) and not step.hidden else ""
    return f"{score} ({_took(made.seconds)})" if score else f"{made.kind} {made.label} ({_took(made.seconds)})"


def _score(step: Prediction) -> str:
    cell, metric = cell_of(step.context), step.context.data.task.main_metric
    try:
        record = load_record(step.record)
        found = load_predictions(step.predictions, record.predictions_sha256)
        score = first_look(found, len(record.task["labels"]), metric)
        language = find(step.language).name
    except (UserError, KeyError):  # it is told again, and aloud, where the report reads it
        return ""
    points, low, high = (f"{100 * value:.1f}" for value in (score.score, score.low, score.high))
    name, where = metric.replace("_", " "), f", {cell}" if cell else ""
    return f"{language}  {step.method.name}  {name} {points} ({low}–{high}), seed {step.seed}{where}"


def _took(seconds: float) -> str:
    """Return a time that has passed, finer than `spoken` does."""
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s" if seconds < 600 else spoken(seconds)
