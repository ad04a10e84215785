"""Translating with several processes, here or on the machines of a Ray cluster.

A worker only translates; the process that asked writes the store, so that machines need no common disk.
"""

import logging
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import Any, Protocol

from crossflare.disk.files import canonical
from crossflare.errors import UserError
from crossflare.languages import tag_of
from crossflare.translation.engines.protocol import Translator, one_for_each
from crossflare.translation.engines.registry import ENGINES, make_engine
from crossflare.translation.translate import BySentence

_log = logging.getLogger(__name__)
AHEAD = 2
"""Jobs given out per worker, so that none waits for the next."""


@dataclass(frozen=True, slots=True)
class Route:
    """One engine from one language to another, as it can be told to another process."""

    options: str
    """Canonical JSON: `engine` and its options, and `split`."""
    source: str
    target: str

    @classmethod
    def of(cls, options: Mapping[str, Any], source: str, target: str, split: bool) -> "Route":
        """Describe an engine; those that serve any pair are not told the languages."""
        source, target = tag_of(source), tag_of(target)
        known = ENGINES[options["engine"]].options if options.get("engine") in ENGINES else {}
        sides = {side: tag for side, tag in (("source", source), ("target", target)) if side in known}
        return cls(canonical({"options": {**sides, **options}, "split": split}), source, target)

    def engine(self) -> Translator:
        """Return the engine, made once in a process for all routes with the same options."""
        return _engine(self.options)


@dataclass(frozen=True, slots=True)
class Job:
    """Different texts for one engine."""

    route: Route
    texts: tuple[str, ...]


class Pool(Protocol):
    """Workers on jobs."""

    def run(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, list[str]]]:
        """Yield each job with its translations, as they are finished; `jobs` are asked for when a worker is free."""
        ...


class Processes:
    """Processes of this machine; they end with the one that started them, also when that is killed."""

    def __init__(self, workers: int) -> None:
        self._workers = workers

    def run(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, list[str]]]:
        """See `Pool.run`.

        When a worker dies, all are started once more and get the unfinished jobs again.

        Raises:
            UserError: From an engine; or a second worker died.
        """
        waiting, unfinished = iter(jobs), list[Job]()
        for last in (False, True):
            again, unfinished = unfinished, []
            try:
                yield from self._run(chain(again, waiting), unfinished)
                return
            except BrokenProcessPool as error:
                if last:
                    raise UserError(
                        "worker processes died twice (killed, or out of memory); finished rows are kept: start the"
                        " command again, with fewer --workers"
                    ) from error
                _log.warning("a worker process died (killed, or out of memory); the workers are started again, once")

    def _run(self, jobs: Iterator[Job], unfinished: list[Job]) -> Iterator[tuple[Job, list[str]]]:
        """Yield each job that is finished; those that were begun and are not stand in `unfinished`."""
        import multiprocessing

        running: dict[Future[list[str]], Job] = {}
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(self._workers, mp_context=context, initializer=_end_with_parent)
        try:
            while True:
                while len(running) < AHEAD * self._workers and (job := next(jobs, None)) is not None:
                    unfinished.append(job)
                    running[pool.submit(translate_job, job)] = job
                if not running:
                    return
                done = wait(running, return_when=FIRST_COMPLETED).done
                # As they were given out, and a failure last: no result is lost.
                ended = [future for future in running if future in done]
                for future in sorted(ended, key=lambda future: future.exception() is not None):
                    translations = future.result()
                    unfinished.remove(job := running.pop(future))
                    yield job, translations
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


class Cluster:
    """Workers on the nodes of a Ray cluster, spread evenly; files that the engine reads must exist on every node."""

    def __init__(self, workers: int, address: str | None = None) -> None:
        """Connect.

        Args:
            workers: Processes in all, one CPU each.
            address: Of the cluster (`auto`: the one of this machine); None: one on this machine alone.

        Raises:
            UserError: Ray is not installed, or there is no such cluster.
        """
        connect(address)
        self._workers = workers

    def run(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, list[str]]]:
        """See `Pool.run`.

        Raises:
            UserError: From an engine; or a node was lost.
        """
        import ray
        from ray.exceptions import RayError, RayTaskError

        # Tasks, not actors: Ray runs those of a lost node again on another.
        remote: Any = ray.remote(num_cpus=1, scheduling_strategy="SPREAD", max_retries=3)(translate_job)
        waiting = iter(jobs)
        running: dict[Any, Job] = {}
        while True:
            while len(running) < AHEAD * self._workers and (job := next(waiting, None)) is not None:
                running[remote.remote(job)] = job
            if not running:
                return
            done, _ = ray.wait(list(running), num_returns=1)
            try:
                translations: list[str] = ray.get(done[0])
            except RayTaskError as error:
                raise error.cause from error
            except RayError as error:
                raise UserError(
                    f"the cluster lost a worker ({type(error).__name__}); finished rows are kept: start again"
                ) from error
            yield running.pop(done[0]), translations


def connect(address: str | None) -> Any:
    """Return Ray, connected.

    Args:
        address: Of the cluster (`auto`: the one of this machine); None: one on this machine alone.

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


def translate_job(job: Job) -> list[str]:
    """Return the translations of a job's texts, in order."""
    done = job.route.engine().translate(job.texts, source=job.route.source, target=job.route.target)
    return list(one_for_each(done, len(job.texts)))


@cache
def _engine(options: str) -> Translator:
    import json

    given = json.loads(options)
    engine = make_engine(given["options"])
    return BySentence(engine) if given["split"] else engine


def _end_with_parent() -> None:
    import multiprocessing

    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
