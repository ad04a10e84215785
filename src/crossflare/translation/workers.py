"""Translating with several processes, here or on the machines of a Ray cluster: see `jobs`.

A worker only translates; the calling process writes the store, so that machines need no common disk.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from crossflare.disk.files import canonical
from crossflare.errors import UserError
from crossflare.jobs import GivenUpError, Pool
from crossflare.languages import tag_of
from crossflare.translation.engines.protocol import Translator, one_for_each
from crossflare.translation.engines.registry import ENGINES, make_engine
from crossflare.translation.translate import BySentence


@dataclass(frozen=True, slots=True)
class Route:
    """One engine from one language to another, in a form that can be sent to another process."""

    options: str
    """Canonical JSON: `engine` and its options, and `split`."""
    source: str
    target: str

    @classmethod
    def of(cls, options: Mapping[str, Any], source: str, target: str, split: bool) -> "Route":
        """Describe an engine; an engine that serves any pair is not told the languages."""
        source, target = tag_of(source), tag_of(target)
        known = ENGINES[options["engine"]].options if options.get("engine") in ENGINES else {}
        sides = {side: tag for side, tag in (("source", source), ("target", target)) if side in known}
        return cls(canonical({"options": {**sides, **options}, "split": split}), source, target)

    def engine(self) -> Translator:
        """Return the engine, made once per process for all routes with the same options."""
        return _engine(self.options)


@dataclass(frozen=True, slots=True)
class Job:
    """Distinct texts for one engine."""

    route: Route
    texts: tuple[str, ...]


def translate_jobs(pool: Pool, jobs: Iterable[Job]) -> Iterator[tuple[Job, list[str]]]:
    """Yield each job with its translations, as workers finish them; a new job is taken when a worker is free.

    Raises:
        UserError: An engine raised it, or workers died again and again.
    """
    try:
        for done in pool.run(translate_job, jobs):
            if done is not None:
                yield done
    except GivenUpError as error:
        raise UserError(
            "workers died again and again (killed, out of memory, or their node was lost); finished rows are kept: "
            "start the command again, with fewer --workers"
        ) from error


def translate_job(job: Job) -> list[str]:
    """Return the translations of a job's texts, in order."""
    done = job.route.engine().translate(job.texts, source=job.route.source, target=job.route.target)
    return list(one_for_each(done, len(job.texts)))


@cache
def _engine(options: str) -> Translator:
    given = json.loads(options)
    engine = make_engine(given["options"])
    return BySentence(engine) if given["split"] else engine
