"""Records that cannot be believed: cut off, edited by hand, or written by another version."""

import logging
from collections.abc import Iterable
from pathlib import Path

from crossflare.errors import UserError
from crossflare.evaluation.predictions import load_predictions
from crossflare.evaluation.record import load_record
from crossflare.experiment.steps.step import Step
from crossflare.files import digest_file

_log = logging.getLogger(__name__)


def check_records(steps: Iterable[Step], remake: bool) -> list[str]:
    """Return what is wrong with the records of finished steps, one line each, which names the file.

    Args:
        steps: Those of the run.
        remake: Set such records aside, in `damaged` beside them, so that their steps are to be made again; what was
            averaged from one is made again as well.
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
