"""The state of a run: which steps are done, which failed, and which can be made now."""

import logging
import traceback
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from crossflare.disk.files import digest_file, read_json, write_json
from crossflare.errors import Kind, UserError
from crossflare.evaluation.predictions import load_predictions
from crossflare.evaluation.record import load_record
from crossflare.experiment.steps.graph import Graph
from crossflare.experiment.steps.step import Step

FOLDER = "failed"


@dataclass(frozen=True)
class Failure:
    """One step that failed, and the results that need it."""

    id: str
    """The id of the step."""
    kind: str
    label: str
    error: str
    """The error in one line."""
    when: str
    """The time, ISO 8601, UTC."""
    stops: Sequence[Mapping[str, Any]] = ()
    """The results that cannot be made: `cell` (empty: a plain recipe), `method`, `language` and `seed` of each."""
    trace: Sequence[str] = ()
    """The traceback of a fault of the program; empty for an error that the user can fix."""
    about: Kind = "usage"
    """The kind of the error."""

    @classmethod
    def of(cls, id: str, kind: str, label: str, error: Exception, stops: Iterable[Mapping[str, Any]]) -> "Failure":
        """Describe a failure that happens now."""
        said = " ".join(str(error).split())
        known = isinstance(error, UserError)
        about: Kind = error.kind if isinstance(error, UserError) else "internal"
        trace = () if known else tuple("".join(traceback.format_exception(error)).splitlines())
        text = said if known else f"{type(error).__name__}: {said}"
        return cls(id, kind, label, text, datetime.now(UTC).isoformat(), tuple(stops), trace, about)

    @property
    def minute(self) -> str:
        """The time of the failure, for people."""
        return self.when[:16].replace("T", " ") + " UTC"


def save_failure(shared: Path, failure: Failure) -> None:
    """Write a failure, atomically."""
    write_json(_place(shared, failure.id), asdict(failure))


def clear_failures(shared: Path, ids: Collection[str]) -> None:
    """Delete failures whose steps are made, or no longer wanted."""
    for each in ids:
        _place(shared, each).unlink(missing_ok=True)


def load_failures(shared: Path) -> dict[str, Failure]:
    """Return the failures by the id of their step; a failure file that cannot be read is skipped."""
    found: dict[str, Failure] = {}
    for path in sorted((shared / FOLDER).glob("*.json")):
        try:
            content: dict[str, Any] = read_json(path)
            failure = Failure(**content)
        except (UserError, TypeError):
            continue
        found[failure.id] = failure
    return found


def _place(shared: Path, id: str) -> Path:
    return shared / FOLDER / f"{id}.json"


OldFailures = Mapping[str, str]
"""Id of a step that failed in an earlier run -> the time of its failure."""


class Board:
    """The steps of all cells of a run and their state by the files; every process sees the same."""

    def __init__(self, graph: Graph, before: OldFailures | None = None) -> None:
        """Take the steps; `refresh` reads their state.

        Args:
            graph: The steps.
            before: The failures from before this run; their steps are tried again.
        """
        self.graph, self.steps, self._needs = graph, graph.steps, graph.needs
        self.shared = graph.contexts[0].shared
        self._before = before or {}
        self._done = [False] * len(self.steps)
        self._broken = [False] * len(self.steps)
        self._failures: dict[str, Failure] = {}

    def refresh(self) -> None:
        """Read the state from the disk again. A step that is done stays done.

        Raises:
            UserError: The data that a step depends on cannot be read.
        """
        self._failures = self._failed_now()
        for number, step in enumerate(self.steps):  # each after those it needs
            self._done[number] = self._done[number] or step.done()
            failed = bool(self._failures) and step.known_id in self._failures
            self._broken[number] = not self._done[number] and (
                failed or any(self._broken[needed] for needed in self._needs[number])
            )

    @property
    def done(self) -> int:
        """The number of steps that are done."""
        return sum(self._done)

    @property
    def missing(self) -> list[Step]:
        """The steps that are not done."""
        return [step for step, done in zip(self.steps, self._done, strict=True) if not done]

    @property
    def makeable(self) -> list[Step]:
        """The steps that are not done and that no failure stops."""
        states = zip(self.steps, self._done, self._broken, strict=True)
        return [step for step, done, broken in states if not done and not broken]

    @property
    def over(self) -> bool:
        """Whether no step is left that could be made."""
        return not self.makeable

    @property
    def ready(self) -> list[Step]:
        """The steps that can be made now, in order."""
        free = (
            number
            for number, (done, broken) in enumerate(zip(self._done, self._broken, strict=True))
            if not done and not broken and all(self._done[needed] for needed in self._needs[number])
        )
        return [self.steps[number] for number in free]

    @property
    def failures(self) -> list[Failure]:
        """The failures of this run whose steps are still not done."""
        missing = {step.known_id for step in self.missing}
        return [failure for failure in self._failures.values() if failure.id in missing]

    @property
    def waiting(self) -> int:
        """The number of steps that cannot be made because a step that they need failed."""
        failed = set(self._failures)
        return sum(
            broken and step.known_id not in failed for step, broken in zip(self.steps, self._broken, strict=True)
        )

    def failed(self, step: Step) -> bool:
        """Return whether a step has failed in this run."""
        return step.known_id in self._failed_now()

    def label(self, step: Step) -> str:
        """Return a step's label, in a grid with its cell."""
        cell = step.context.cell
        return f"{step.label} ({cell})" if cell else step.label

    def stopped_by(self, failed: Step) -> list[dict[str, Any]]:
        """Return the results that need a step, in any cell."""
        id, hit, found = failed.known_id, [False] * len(self.steps), list[dict[str, Any]]()
        for number, step in enumerate(self.steps):
            hit[number] = step.known_id == id or any(hit[needed] for needed in self._needs[number])
            if hit[number] and step.result is not None:
                found.append({"cell": step.context.cell, **asdict(step.result)})
        return found

    def _failed_now(self) -> dict[str, Failure]:
        found = load_failures(self.shared)
        return {id: failure for id, failure in found.items() if self._before.get(id) != failure.when}


def ids_of(steps: Iterable[Step]) -> set[str]:
    """Return the ids of the steps that already have one."""
    return {id for step in steps if (id := step.known_id) is not None}


_log = logging.getLogger(__name__)


def check_records(steps: Iterable[Step], remake: bool) -> list[str]:
    """Return the errors in the records of finished steps, one line each, with the name of the file.

    Args:
        steps: The steps of the run.
        remake: Move such records into the folder `damaged` next to them, so that their steps are made again; so are
            steps that combine a damaged record.
    """
    found: list[str] = []
    suspect: set[str] = set()
    for step in steps:  # each after those it needs
        if step.trains or not step.done():
            continue
        record, predictions = step.files
        said = _damage(step.id, record, predictions)
        if said:
            found.append(said)
            suspect.add(step.id)
        if remake and (said or any(needed.id in suspect for needed in step.needs())):
            suspect.add(step.id)
            _log.warning("made again: %s", said or f"{record}: made from a record that was damaged")
            aside = record.parent / "damaged"
            aside.mkdir(exist_ok=True)
            record.replace(aside / record.name)
    return found


def _damage(id: str, path: Path, predictions: Path) -> str:
    try:
        record = load_record(path)
        if not record.predictions_sha256 or digest_file(predictions) != record.predictions_sha256:
            load_predictions(predictions, record.predictions_sha256)
    except UserError as error:
        return str(error)
    return "" if record.run_id == id else f"{path}: holds the record {record.run_id}; it was renamed"
