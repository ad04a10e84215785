"""Running a recipe: it makes the missing steps, so a run that was killed goes on when it is started again.

Several workers, or several commands on one folder, share the work (see `work`).
"""

import logging
import os
from contextlib import suppress
from pathlib import Path

from crossflare.disk.files import point_to
from crossflare.disk.storage import sweep
from crossflare.errors import Kind, UserError
from crossflare.evaluation.folder import RunFiles
from crossflare.experiment.promise.check import cautions, check
from crossflare.experiment.promise.outside import check_endpoints
from crossflare.experiment.running.board import (
    Board,
    Failure,
    OldFailures,
    check_records,
    clear_failures,
    ids_of,
    load_failures,
)
from crossflare.experiment.running.looking import look_before
from crossflare.experiment.running.pools import default_workers, share
from crossflare.experiment.running.worker import Order, work
from crossflare.experiment.steps.graph import Graph, build_graph, contexts_of, run_folder, write_recipes
from crossflare.recipe.grid import Recipe
from crossflare.recipe.spec import Spec

_log = logging.getLogger(__name__)
SHOWN = 5
"""The most failed steps that are named when they are tried again."""


class StepsFailedError(UserError):
    """Steps failed; everything that does not need them is made.

    Args:
        message: The failed steps and their errors.
        ours: Whether one of them met a fault of the program, which no change of the recipe fixes.
        kind: The kind of the first error, if the user can fix it.
    """

    def __init__(self, message: str, *, ours: bool, kind: Kind = "usage") -> None:
        super().__init__(message, "internal" if ours else kind)
        self.ours = ours


def run(
    recipe: Recipe | Spec, root: Path, workers: int | None = None, *, ray: str | None = None, remake: bool = False
) -> Path:
    """Make every missing step of a recipe, or of the chosen cells of a grid, and return the run's folder.

    Under torchrun the first process does this; the others share its trainings, and end here.

    Args:
        recipe: The recipe to run.
        root: The folder of all runs.
        workers: The number of processes; None: one per GPU, or one per core (at most 4) without a GPU; on a cluster, as
            many as it has room for.
        ray: The address of a Ray cluster, or `local` for one on this machine alone; None: processes of this machine.
        remake: Make damaged records and records of another version again.

    Raises:
        StepsFailedError: Steps failed; all other steps are made, and the failures are named and saved.
        UserError: The recipe cannot start, or a record is damaged.
    """
    recipe = recipe if isinstance(recipe, Recipe) else Recipe.of(recipe)
    top = run_folder(recipe, root)
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return _run(recipe, top, workers, ray, remake)
    if ray is not None or (workers or 1) > 1:
        raise UserError("expected one worker under torchrun, whose processes share each training; leave the option out")
    from crossflare.experiment.running.worker import with_helpers

    with with_helpers(recipe, top):
        return _run(recipe, top, 1, None, remake)


def _run(recipe: Recipe, top: Path, workers: int | None, ray: str | None, remake: bool) -> Path:
    contexts = contexts_of(recipe, top)
    check(contexts)
    sweep(top)
    graph = build_graph(contexts)
    damaged = check_records(graph.steps, remake)
    board = Board(graph)
    board.refresh()
    check_endpoints(board.missing)
    write_recipes(recipe, top)
    warnings = [*(line for context in contexts for line in cautions(context.data)), *look_before(contexts)]
    for line in dict.fromkeys(warnings):
        _log.warning("%s", line)
    before = _tried_again(board)
    if board.missing:
        board = _make(graph, before, len(board.missing), workers, ray)
    tidy(graph)
    if board.failures:
        ours, kind = any(failure.trace for failure in board.failures), board.failures[0].about
        raise StepsFailedError(_told(board), ours=ours, kind=kind)
    if damaged and not remake:
        more = f"; and {len(damaged) - 3} more" if len(damaged) > 3 else ""
        advice = "no report is made over such records: run again with --remake to make them again"
        raise UserError(f"{'; '.join(damaged[:3])}{more}. {advice}")
    return top


def _make(graph: Graph, before: OldFailures, missing: int, workers: int | None, ray: str | None) -> Board:
    """Let the workers make the missing steps, and return the board afterwards."""
    board = Board(graph, before)
    if ray is not None:
        from crossflare.experiment.running.pools import on_ray

        on_ray(Order.of(graph.contexts, before), board, ray, workers)
    elif (count := min(workers or default_workers(), missing)) > 1:
        share(Order.of(graph.contexts, before), board, count)
    else:
        work(graph, before)
    board.refresh()
    return board


def _tried_again(board: Board) -> OldFailures:
    """Return the earlier failures that are tried again, and log them; delete those done or no longer wanted."""
    failures = load_failures(board.shared)
    wanted = ids_of(board.missing)
    cells = {context.cell for context in board.graph.contexts}
    old = [
        id
        for id, failure in failures.items()
        if id not in wanted and cells.issuperset(each["cell"] for each in failure.stops)
    ]
    clear_failures(board.shared, old)
    again = [failure for id, failure in failures.items() if id in wanted]
    for each in again[:SHOWN]:
        _log.warning("trying again: %s %s, which failed on %s: %s", each.kind, each.label, each.minute, each.error)
    if len(again) > SHOWN:
        _log.warning("and %d more steps that failed before", len(again) - SHOWN)
    return {each.id: each.when for each in again}


def _told(board: Board) -> str:
    failures: list[Failure] = board.failures
    first = "; ".join(f"{each.kind} {each.label}: {each.error}" for each in failures[:3])
    more = f"; and {len(failures) - 3} more" if len(failures) > 3 else ""
    need = f"{board.waiting} more need them; " if board.waiting else ""
    return (
        f"{len(failures)} of {len(board.steps)} steps failed: {first}{more}. {need}the rest is done and kept; "
        "fix it and run again"
    )


def tidy(graph: Graph) -> None:
    """Give the adapters names for people, and set aside the records that the recipe no longer needs."""
    set_aside(graph)
    name_adapters(graph)


def name_adapters(graph: Graph) -> None:
    """Link each finished adapter under a name for people: `adapters/<method>-<language>-seed<n>`."""
    for step in graph.steps:
        if step.link and step.done():
            place, (card,) = RunFiles(step.context.folder).adapters, step.files
            with suppress(UserError):  # some file systems have no links; an existing folder stays
                point_to(place / step.link, Path(os.path.relpath(card.parent, place)))


def set_aside(graph: Graph) -> None:
    """Move records that the recipe no longer needs into `records/old`: a report is for one recipe.

    Nothing is deleted: the older recipe makes its records again from the existing models and translations.
    """
    wanted = {path for step in graph.steps if step.result and step.done() for path in step.files}
    for context in graph.contexts:
        for path in RunFiles(context.folder).records:
            if path not in wanted:
                (path.parent / "old").mkdir(exist_ok=True)
                path.replace(path.parent / "old" / path.name)
