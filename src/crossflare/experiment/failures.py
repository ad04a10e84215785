"""Marks of steps that failed: `failed/<id>.json` beside the shared models, until the step is made."""

import traceback
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from crossflare.errors import Kind, UserError
from crossflare.files import read_json, write_json

FOLDER = "failed"


@dataclass(frozen=True)
class Failure:
    """One step that failed, and what could not be made for want of it."""

    id: str
    """Of the step."""
    kind: str
    label: str
    error: str
    """One line."""
    when: str
    """ISO 8601, UTC."""
    stops: Sequence[Mapping[str, Any]] = ()
    """The results that cannot be had: `cell` (empty: a plain recipe), `method`, `language` and `seed` of each."""
    trace: Sequence[str] = ()
    """Where it happened, for a fault of the program; nothing for what a user can mend."""
    about: Kind = "usage"
    """What the error is about."""

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
        """When it happened, as a person reads it."""
        return self.when[:16].replace("T", " ") + " UTC"


def save_failure(shared: Path, failure: Failure) -> None:
    """Write a mark, atomically."""
    write_json(_place(shared, failure.id), asdict(failure))


def clear_failures(shared: Path, ids: Collection[str]) -> None:
    """Take marks away: their steps are made, or no longer asked for."""
    for each in ids:
        _place(shared, each).unlink(missing_ok=True)


def load_failures(shared: Path) -> dict[str, Failure]:
    """Return the marks by the id of their step; one that cannot be read is passed over: it says nothing."""
    found: dict[str, Failure] = {}
    for path in sorted((shared / FOLDER).glob("*.json")):
        try:
            content: dict[str, Any] = read_json(path)
            mark = Failure(**content)
        except (UserError, TypeError):
            continue
        found[mark.id] = mark
    return found


def _place(shared: Path, id: str) -> Path:
    return shared / FOLDER / f"{id}.json"
