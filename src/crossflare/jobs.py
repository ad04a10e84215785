"""Jobs on several processes of this machine, or on the nodes of a Ray cluster, under one rule.

If a worker disappears (killed, out of memory, its node lost), its job is given out again, a few times, with a warning;
the other jobs go on. An error of a job is raised in the caller. Workers end with the process that started them.
"""

import logging
import os
import signal
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from multiprocessing import connection, get_context
from threading import Thread
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from crossflare.errors import UserError

J = TypeVar("J")
R = TypeVar("R")
AHEAD = 2
"""Jobs given out per worker, so that none waits for the next."""
AGAIN = 3
"""How often a job is given out again."""
GRACE = 60.0
"""Seconds that a worker has to save its work, once the process that started it has ended."""
_log = logging.getLogger(__name__)


class GivenUpError(Exception):
    """Workers disappeared more often than their jobs are given out again."""


class Pool(ABC):
    """Workers that run jobs."""

    def __init__(self, workers: int) -> None:
        self._workers = workers

    def run(
        self, work: Callable[[J], R], jobs: Iterable[J], *, again: int = AGAIN, look: float | None = None
    ) -> Generator[tuple[J, R] | None]:
        """Yield each job with its result, as they are finished.

        Args:
            work: A function of a module, so that other processes can import it.
            jobs: Objects that pickle accepts; the next is taken when a worker is free.
            again: How often a job is given out again.
            look: Seconds after which None is yielded if no job is finished; None: never.

        Raises:
            GivenUpError: A job's workers disappeared too often; all other jobs are finished.
        """
        waiting, lost = iter(jobs), 0
        running: dict[Future[R], tuple[J, int]] = {}
        with self._giving(work) as give:
            while True:
                while len(running) < AHEAD * self._workers and (job := next(waiting, None)) is not None:
                    running[give(job)] = job, 0
                if not running:
                    break
                done = wait(running, look, FIRST_COMPLETED).done
                if not done:
                    yield None
                left: list[tuple[J, int]] = []
                # In the order in which they were given out, failures last: no result is lost.
                ended = [future for future in running if future in done]
                for future in sorted(ended, key=lambda future: future.exception() is not None):
                    job, deaths = running.pop(future)
                    error = future.exception()
                    if error is None:
                        yield job, future.result()
                    elif not self._is_loss(error):
                        raise getattr(error, "cause", None) or error  # Ray wraps it
                    elif deaths < again:
                        left.append((job, deaths + 1))
                    else:
                        lost += 1
                if left:
                    _log.warning(
                        "a worker disappeared (killed, out of memory or its node lost); its jobs are given out again"
                    )
                running |= {give(job): (job, deaths) for job, deaths in left}
        if lost:
            raise GivenUpError

    @abstractmethod
    def _giving(self, work: Callable[[J], R]) -> AbstractContextManager[Callable[[J], Future[R]]]:
        """Return a context with a function that gives a job to a worker; all work ends with the context."""

    @abstractmethod
    def _is_loss(self, error: BaseException) -> bool:
        """Return whether an error means that a worker disappeared, so that the job is not to blame."""


class Processes(Pool):
    """Processes of this machine. When one dies, all are started again: Python's pool cannot replace one."""

    def __init__(self, workers: int, begin: Callable[[int], None] | None = None) -> None:
        """Describe the processes; each calls `begin` with its number (from 0) before its first job."""
        super().__init__(workers)
        self._begin = begin

    @contextmanager
    def _giving(self, work: Callable[[J], R]) -> Generator[Callable[[J], Future[R]]]:
        context = get_context("spawn")
        gone, alive = context.Pipe(duplex=False)  # closes when this process ends, for any reason: the workers notice

        def started() -> ProcessPoolExecutor:
            numbers = context.SimpleQueue()
            for number in range(self._workers):
                numbers.put(number)
            given = gone, numbers, self._begin
            return ProcessPoolExecutor(self._workers, mp_context=context, initializer=_begin, initargs=given)

        pool = started()

        def give(job: J) -> Future[R]:
            nonlocal pool
            try:
                return pool.submit(work, job)
            except BrokenProcessPool:
                pool = started()
                return pool.submit(work, job)

        try:
            yield give
            pool.shutdown()  # their work is done: let them end in order
        finally:
            alive.close()
            pool.shutdown(wait=False, cancel_futures=True)

    def _is_loss(self, error: BaseException) -> bool:
        return isinstance(error, BrokenProcessPool)


def _begin(gone: connection.Connection, numbers: Any, begin: Callable[[int], None] | None) -> None:
    """Prepare a worker, which ends with the process that started it.

    Ctrl-C at a terminal goes to all processes of a group. The workers leave it, so that one signal reaches them once.
    """
    if begin is not None:
        begin(numbers.get())
    if sys.platform != "win32":  # Windows has no groups of this kind
        os.setpgrp()

    def watch() -> None:
        connection.wait([gone])
        while True:
            if sys.platform == "win32":  # os.kill would end the process at once
                signal.raise_signal(signal.SIGTERM)
            else:
                os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(GRACE)

    Thread(target=watch, daemon=True).start()


class Cluster(Pool):
    """Workers on the nodes of a Ray cluster, spread evenly; files that a job reads must exist on every node."""

    def __init__(self, workers: int, address: str | None = None, needs: Mapping[str, Any] | None = None) -> None:
        """Connect (see `connect`); `needs` is what Ray reserves for each worker, by default one CPU."""
        super().__init__(workers)
        self._ray, self._needs = connect(address), needs or {"num_cpus": 1}

    @contextmanager
    def _giving(self, work: Callable[[J], R]) -> Generator[Callable[[J], Future[R]]]:
        # Ray must not repeat a job by itself: it would do so without a warning.
        remote: Any = self._ray.remote(max_retries=0, scheduling_strategy="SPREAD", **self._needs)(work)
        given: WeakKeyDictionary[Future[R], Any] = WeakKeyDictionary()

        def give(job: J) -> Future[R]:
            task = remote.remote(job)
            given[future := task.future()] = task
            return future

        try:
            yield give
        finally:
            for task in list(given.values()):
                self._ray.cancel(task, force=True)

    def _is_loss(self, error: BaseException) -> bool:
        kinds = self._ray.exceptions
        return isinstance(error, kinds.RayError) and not isinstance(error, kinds.RayTaskError)


def connect(address: str | None) -> Any:
    """Return Ray, connected.

    Args:
        address: The cluster's address (`auto`: this machine's cluster); None or `local`: one on this machine alone.

    Raises:
        UserError: Ray is not installed, or there is no such cluster.
    """
    try:
        import ray
    except ImportError as error:
        raise UserError("a cluster needs Ray; install it: pip install 'crossflare[ray]'") from error
    if not ray.is_initialized():
        try:
            ray.init(address=address, log_to_driver=False, include_dashboard=False, configure_logging=False)
        except (ConnectionError, ValueError) as error:
            raise UserError(
                f"no Ray cluster at '{address}' ({str(error).splitlines()[0]}); start one: ray start --head"
            ) from error
    return ray
