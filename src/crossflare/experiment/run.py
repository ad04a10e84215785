"""Running a recipe means making what is missing: kill it anywhere, start it again, and it goes on.

Several workers, or several commands on one folder, share the work: a step is made under its lock, and the lock of a
killed process is free.
"""

import os
import signal
import time
from collections.abc import Callable, Generator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from threading import Thread

from filelock import FileLock, Timeout

from crossflare.errors import UserError
from crossflare.experiment.context import Context
from crossflare.experiment.plan import run_folder
from crossflare.experiment.predictions import Prediction
from crossflare.experiment.spec import Spec, spec_from
from crossflare.experiment.stages import NotReadyError, Stage2
from crossflare.experiment.steps import Step, all_steps
from crossflare.files import content_id, point_to, write_atomic
from crossflare.progress import bar

WAIT = 0.5
"""Seconds between looks when all that is left is being made by others."""
GRACE = 60.0
"""Seconds that a worker has to save a checkpoint."""


def run(spec: Spec, root: Path, workers: int | None = None) -> Path:
    """Make every missing step of a recipe and return the run's folder.

    Args:
        spec: The recipe.
        root: The folder of all runs.
        workers: Processes; None: one per core (at most 4) without a GPU, one with.

    Raises:
        UserError: The recipe cannot start, or steps failed: all that could be made was made, the failures are named.
    """
    folder = run_folder(spec, root)
    context = Context(spec, folder)
    steps = all_steps(context)
    missing = [step for step in steps if not step.done()]  # reads the data: what is wrong with it is said here
    write_atomic(folder / "spec.yaml", spec.to_yaml())
    if not missing:
        _tidy(context, steps)
        return folder
    if spec.model.quantise != "none":
        from crossflare.training.quantised import check_installed

        check_installed(spec.model.quantise)  # before hours of training, not after
    count = min(workers or default_workers(), len(missing))
    failures = work(context) if count == 1 else _share(spec, context, count)
    _tidy(context, steps)
    if failures:
        first = "; ".join(f"{label}: {reason}" for label, reason in list(failures.items())[:3])
        more = f"; and {len(failures) - 3} more" if len(failures) > 3 else ""
        waiting = len(_broken(steps, failures)) - len(failures)
        need = f"{waiting} more need them; " if waiting else ""
        raise UserError(
            f"{len(failures)} of {len(steps)} steps failed: {first}{more}. {need}the rest is done and kept; "
            "mend it and run again"
        )
    return folder


def _tidy(context: Context, steps: list[Step]) -> None:
    set_aside(context, steps)
    name_adapters(context, steps)


def name_adapters(context: Context, steps: list[Step]) -> None:
    """Link each finished adapter under a name that a person finds: `adapters/<method>-<language>-seed<n>`."""
    place = context.folder / "adapters"
    for step in steps:
        if isinstance(step, Stage2) and step.lr is None and step.done():
            link = place / f"{step.method.name}-{step.language}-seed{step.seed}"
            with suppress(UserError):  # a convenience, which some file systems lack; a folder in the way stays
                point_to(link, Path(os.path.relpath(step.path, place)))


def set_aside(context: Context, steps: list[Step]) -> None:
    """Move records that the recipe no longer leads to into `records/old`: a report is of one recipe.

    Nothing is deleted: with the older recipe they are made anew from the models and translations that are still there.
    """
    wanted = {step.id for step in steps if isinstance(step, Prediction) and step.done()}
    records = context.folder / "records"
    for path in records.glob("*.json"):
        if path.stem not in wanted:
            (records / "old").mkdir(exist_ok=True)
            path.replace(records / "old" / path.name)


def default_workers() -> int:
    """Return one per core, at most 4, or one where a GPU does the work."""
    import torch

    return 1 if torch.cuda.is_available() else min(4, os.cpu_count() or 1)


def work(context: Context) -> dict[str, str]:
    """Make steps until none is left to make, and return those that failed: kind and label -> reason."""
    from crossflare.experiment.make import make

    failures: dict[str, str] = {}
    steps = all_steps(context)
    with bar("steps", len(steps)) as advance:
        shown = 0
        while True:
            done = {step for step in steps if step.done()}
            advance(len(done) - shown)
            shown = len(done)
            broken = _broken(steps, failures)
            left = [step for step in steps if step not in done and step not in broken]
            if not left:
                return failures
            ready = [step for step in left if all(needed in done for needed in step.needs())]
            if not _make_one(context, ready, failures, make):
                time.sleep(WAIT)


def _make_one(context: Context, ready: list[Step], failures: dict[str, str], make: Callable[[Step], None]) -> bool:
    """Make the first of `ready` that no other worker is making; say whether there was one."""
    for step in ready:
        with _claimed(context, step) as mine:
            if not mine:
                continue
            if not step.done():
                try:
                    make(step)
                except UserError as error:
                    failures[_named(step)] = str(error)
            return True
    return False


def _broken(steps: list[Step], failures: dict[str, str]) -> set[Step]:
    """Return the steps that failed here, and those that need them."""
    broken: set[Step] = set()
    for step in steps:  # each after those it needs
        if _named(step) in failures or any(needed in broken for needed in step.needs()):
            broken.add(step)
    return broken


def _named(step: Step) -> str:
    """Return a name that no other step has: a prediction may have the label of the adapter it reads."""
    return f"{step.kind} {step.label}"


@contextmanager
def _claimed(context: Context, step: Step) -> Generator[bool]:
    """Hold a step's lock for as long as it is being made; False when another process holds it."""
    try:
        name = step.id
    except NotReadyError:
        yield False
        return
    place = context.shared / ".locks" / f"{content_id([step.kind, name])}.lock"
    place.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(place)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _share(spec: Spec, context: Context, workers: int) -> dict[str, str]:
    """Let several processes make the steps; this one shows how far they are."""
    text, folder = spec.to_yaml(), context.folder
    failures: dict[str, str] = {}
    steps = all_steps(context)
    spawn = get_context("spawn")
    gone, alive = spawn.Pipe(duplex=False)  # closed by whatever ends this process: the others notice, and end too
    pool = ProcessPoolExecutor(workers, mp_context=spawn, initializer=_follow, initargs=(gone,))
    try:
        futures = [pool.submit(_worker, text, folder, workers) for _ in range(workers)]
        with bar("steps", len(steps)) as advance:
            shown = 0
            while not all(future.done() for future in futures):
                done = sum(step.done() for step in steps)
                advance(done - shown)
                shown = done
                time.sleep(WAIT)
        for future in futures:
            failures |= future.result()
        pool.shutdown()  # their work is done: let them leave in order
    except BrokenProcessPool as error:
        raise UserError(
            "a worker was killed, most often for want of memory; what is finished is kept: run again with fewer workers"
        ) from error
    finally:
        alive.close()
        pool.shutdown(wait=False, cancel_futures=True)
    return failures


def _follow(gone: Connection) -> None:
    """End this worker with the process that started it, however that ends; training saves a checkpoint first.

    Ctrl-C at a terminal goes to all processes of a group; the workers leave it, so that one signal reaches them once.
    """
    os.setpgrp()

    def watch() -> None:
        wait([gone])
        while True:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(GRACE)

    Thread(target=watch, daemon=True).start()


def _worker(text: str, folder: Path, workers: int) -> dict[str, str]:
    import torch

    torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))
    try:
        return work(Context(spec_from(text, folder), folder))
    except SystemExit:  # of `_follow`; the pool would catch it, and wait for more work from a process that is gone
        os._exit(128 + signal.SIGTERM)
