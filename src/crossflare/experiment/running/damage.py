"""Records that cannot be believed: cut off, edited by hand, or written by another version."""

import logging
from collections.abc import Iterable

from crossflare.errors import UserError
from crossflare.evaluation.predictions import load_predictions
from crossflare.evaluation.record import load_record
from crossflare.experiment.steps.graph import Step
from crossflare.experiment.steps.prediction import Prediction
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
        if not isinstance(step, Prediction) or not step.done():
            continue
        said = _damage(step)
        if said:
            found.append(said)
            suspect.add(step.id)
        if remake and (said or any(needed.id in suspect for needed in step.needs())):
            suspect.add(step.id)
            _log.warning("made again: %s", said or f"{step.record}: made from a record that was damaged")
            aside = step.record.parent / "damaged"
            aside.mkdir(exist_ok=True)
            step.record.replace(aside / step.record.name)
    return found


def _damage(step: Prediction) -> str:
    try:
        record = load_record(step.record)
        if not record.predictions_sha256 or digest_file(step.predictions) != record.predictions_sha256:
            load_predictions(step.predictions, record.predictions_sha256)
    except UserError as error:
        return str(error)
    return "" if record.run_id == step.id else f"{step.record}: holds the record {record.run_id}; it was renamed"
