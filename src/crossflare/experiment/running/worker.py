"""The work of every worker, on any machine: it makes steps until none is left that could be made.

A worker makes a step under its lock; the lock of a killed process becomes free.
"""

import logging
import socket
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from crossflare.disk.files import content_id
from crossflare.disk.locks import claimed
from crossflare.errors import UserError
from crossflare.evaluation.folder import RunFiles
from crossflare.experiment.making.make import make
from crossflare.experiment.running.board import Board, Failure, OldFailures, clear_failures, save_failure
from crossflare.experiment.running.news import Made, News, note
from crossflare.experiment.steps.context import Context
from crossflare.experiment.steps.graph import Graph, build_graph, contexts_of, open_cells
from crossflare.experiment.steps.step import Step
from crossflare.progress import bar
from crossflare.recipe.grid import Recipe
from crossflare.recipe.spec import Spec
from crossflare.training.loop import distributed

_log = logging.getLogger(__name__)


@contextmanager
def with_helpers(recipe: Recipe, top: Path) -> Generator[None]:
    """Let the other processes help while the first one works in this context, and release them however it ends.

    Only the first process enters the context: the others end here, with exit code 0.
    """
    distributed.start()
    if not distributed.is_main():
        _help(recipe, top)
        raise SystemExit(0)
    try:
        yield
    finally:
        with suppress(distributed.LostError):  # a process that is gone needs no release
            distributed.lead(None)
        distributed.stop()


def _help(recipe: Recipe, top: Path) -> None:
    graph: Graph | None = None
    while (wanted := distributed.follow()) is not None:
        graph = graph or build_graph(contexts_of(recipe, top))
        try:
            make(next(step for step in graph.steps if step.known_id == wanted))
        except UserError:
            pass  # the first process knows, and writes the failure
        except Exception:
            _log.exception("process %d failed", distributed.rank())


WAIT = 0.5
"""The seconds between looks when others are making all remaining steps."""


@dataclass(frozen=True)
class Order:
    """The work for a worker in another process."""

    cells: tuple[tuple[Spec, Path], ...]
    """(recipe, folder) of each cell."""
    shared: Path
    """The folder that the cells share."""
    before: OldFailures
    """The failures from before this run."""

    @classmethod
    def of(cls, contexts: Sequence[Context], before: OldFailures) -> "Order":
        """Describe the work; the folders are absolute, since a worker may run in another folder."""
        cells = tuple((each.spec, each.folder.resolve()) for each in contexts)
        return cls(cells, contexts[0].shared.resolve(), dict(before))

    def carry_out(self) -> None:
        """Make steps until none is left to make; the process that gave the order shows the progress."""
        if not all(RunFiles(folder).spec.is_file() for _, folder in self.cells):
            raise UserError(
                f"{self.shared}: not there on {socket.gethostname()}; a run on several machines needs a folder that "
                "all of them share, at the same path"
            )
        board = Board(build_graph(open_cells(self.cells, self.shared)), self.before)
        _make_all(board, board.refresh)


def work(graph: Graph, before: OldFailures | None = None) -> None:
    """Make steps until none is left to make, and show each that is finished.

    If a step fails, the failure is written, and the step is not tried again.

    Raises:
        UserError: A failure cannot be written, or the data cannot be read.
    """
    board = Board(graph, before)
    with bar("steps", len(board.steps)) as advance:
        news = News(board, advance)
        _make_all(board, news.refresh)
        news.last()


def _make_all(board: Board, refresh: Callable[[], None]) -> None:
    """Make steps until none is left to make; `refresh` reads the board's state again."""
    from crossflare.experiment.making.make import make

    while True:
        refresh()
        if board.over:
            return
        if not _make_one(board, make):
            time.sleep(WAIT)


def _make_one(board: Board, make: Callable[[Step], None]) -> bool:
    """Make the first ready step that no other worker is making; return whether there was one."""
    for step in board.ready:
        with _claimed(step) as mine:
            if not mine:
                continue
            if not step.done() and not board.failed(step):
                _attempt(step, board, make)
            return True
    return False


def _attempt(step: Step, board: Board, make: Callable[[Step], None]) -> None:
    begun, label = time.monotonic(), board.label(step)
    try:
        with bar(f"{step.kind} {label}", None):
            make(step)
    except Exception as error:  # for any error, the other cells go on; the failure describes it
        save_failure(board.shared, Failure.of(step.id, step.kind, label, error, board.stopped_by(step)))
    else:
        clear_failures(board.shared, [step.id])
        note(board.shared, Made(step.id, step.kind, label, time.monotonic() - begun))


@contextmanager
def _claimed(step: Step) -> Generator[bool]:
    """Hold a step's lock while it is made; yield False if another process holds it."""
    name = step.known_id
    if name is None:
        yield False
        return
    place = step.context.shared / ".locks" / f"{content_id([step.kind, name])}.lock"
    with claimed(place) as mine:
        yield mine
