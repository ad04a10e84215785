"""Copy the numbers of finished runs into this folder: reports, records and predicted labels, and no text of any row.

Predictions of labels are packed (see `crossflare.evaluation.predictions`), so that `crossflare report` makes all tables
of a copy again; answers to questions are text of the rows, and are left out.

CROSSFLARE_DATA=FOLDER python docs/results/publish.py runs/nusax-minilm runs/tydiqa-sw-minilm
"""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from crossflare.disk.files import write_atomic
from crossflare.errors import UserError
from crossflare.evaluation.folder import RunFiles
from crossflare.evaluation.predictions import (
    PACKED,
    AnswerPredictions,
    Predictions,
    load_predictions,
    pack,
    packed_text,
    rows_file,
)
from crossflare.evaluation.record import sealed
from crossflare.report import build_report
from crossflare.report.runs import RunFolder
from crossflare.tasks.sets import KNOWN_SETS

PLACE = Path(__file__).parent
MADE = ("report.md", "results.json", "results.csv")
KEPT = (*MADE, "spec.yaml", "inspection.json")
TELLING = 16
"""Characters from which on an answer is no common word: found in a copy, it would be a row of data."""


def publish(run: Path, place: Path = PLACE) -> Path:
    """Make a run's report anew, copy it with the records, and return the copy's folder.

    Where the data lay on this machine is written as the recipe has it. Where the copy has predictions, its tables
    are what they give.

    Raises:
        UserError: The run cannot be reported, the data's folder is not named, or a copy would hold an answer's text.
    """
    if not os.environ.get("CROSSFLARE_DATA"):
        raise UserError("expected the folder of the data in CROSSFLARE_DATA, found nothing; set it as for the run")
    data, files = str(Path(os.environ["CROSSFLARE_DATA"]).resolve()), RunFiles(run)
    made = build_report(run)  # reads every record and prediction, and refuses those that disagree
    licence = _licence(made.results.folder)
    copies = {
        path.relative_to(run): path.read_text(encoding="utf-8").replace(data, "$CROSSFLARE_DATA")
        for path in [*(run / name for name in KEPT), *files.records]
        if path.is_file()
    }
    more: dict[Path, str] = {}
    answers = {text for text in _answers(made.results.folder) if len(text) >= TELLING}
    for name, copy in copies.items():
        if any(answer in copy for answer in answers):
            raise UserError(f"{run / name}: expected numbers alone, found the text of an answer; it is not published")
        if name.parts[0] == "records":  # other words than those that were sealed
            record = json.loads(copy)
            more |= _packed(run, record, licence)
            copies[name] = json.dumps(sealed(record), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    target = place / run.name
    shutil.rmtree(target, ignore_errors=True)
    for name, copy in (copies | more).items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        write_atomic(target / name, copy)
    if more:
        _tables_of(target)
    return target


def _tables_of(target: Path) -> None:
    """Put a copy's own tables in place of the run's: calibration errors show that probabilities have 16 bits."""
    with TemporaryDirectory() as aside:
        again = Path(shutil.copytree(target, Path(aside) / target.name))
        build_report(again)
        for name in MADE:
            write_atomic(target / name, (again / name).read_text(encoding="utf-8"))


def _licence(run: RunFolder) -> str:
    """Return the licence of the set that a run is about."""
    task: Any = run.spec.get("task") or {}
    named = KNOWN_SETS.get(str(task.get("set")))
    return "that of the files which the recipe names" if named is None else named.licence


def _packed(run: Path, record: dict[str, Any], licence: str) -> dict[Path, str]:
    """Return the files of a record's predicted labels, and name them in the record; nothing of answers."""
    found = load_predictions(run / record["predictions"])
    if not isinstance(found, Predictions):
        return {}
    rows, said = pack(found, licence)
    place = Path("predictions")
    files = {place / rows_file(said): packed_text(rows), place / f"{record['run_id']}{PACKED}": packed_text(said)}
    record["predictions"] = (place / f"{record['run_id']}{PACKED}").as_posix()
    record["predictions_sha256"] = hashlib.sha256(packed_text(said).encode()).hexdigest()
    return files


def _answers(run: RunFolder) -> Iterator[str]:
    """Yield every gold and given answer of a run, as text and as JSON writes it; labels have none."""
    found = [each.predictions for each in run.runs.values()]
    for said in (each for each in found if isinstance(each, AnswerPredictions)):
        for text in chain(said.texts, *said.golds):
            yield text
            yield json.dumps(text)[1:-1]


if __name__ == "__main__":
    try:
        for folder in sys.argv[1:]:
            publish(Path(folder).resolve())
    except UserError as error:
        sys.exit(str(error))
