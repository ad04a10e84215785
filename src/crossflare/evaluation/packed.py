"""Predictions of labels without any text, in a few bytes a row: what can be published beside a record.

predictions/rows-HASH.json     the rows that several runs were scored on: ids, gold labels, licence of the set
predictions/ID.packed.json     what one run said of them: label indices, log-probabilities in 16 bits
"""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from crossflare.disk.files import content_id, digest_file, read_json
from crossflare.errors import UserError
from crossflare.evaluation.predictions import Predictions

SUFFIX = ".packed.json"
FORMAT = 1
_AGAIN = "fetch it again"


def pack(found: Predictions, licence: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the rows, and what was said of them, as JSON values.

    Args:
        found: N rows; labels are told from -1, none, to 32767.
        licence: Of the set whose row ids and gold labels these are.
    """
    rows = {"format": FORMAT, "licence": licence, "ids": list(found.ids), "gold": found.gold.tolist()}
    said = {
        "format": FORMAT,
        "rows": content_id(rows),
        "prediction": _text(found.predicted.astype("<i2")),
        "log_probabilities": _text(found.log_probabilities.astype("<f2")),
        "labels": int(found.log_probabilities.shape[1]),
    }
    return rows, said


def rows_file(said: Mapping[str, Any]) -> str:
    """Return the name of the file with the rows of packed predictions."""
    return f"rows-{said['rows']}.json"


def load_packed(path: Path, sha256: str = "") -> Predictions:
    """Read packed predictions and the rows beside them.

    Args:
        path: The file.
        sha256: What the record says of the file; nothing is checked where it says nothing.

    Raises:
        UserError: One of the files is missing, damaged or changed, or they do not belong together.
    """
    said = read_json(path, _AGAIN)
    try:
        if sha256 and digest_file(path) != sha256:
            raise UserError(f"{path}: expected the predictions as saved, found them changed (sha256 differs); {_AGAIN}")
        rows = read_json(path.parent / rows_file(said), _AGAIN)
        if said["format"] != FORMAT or content_id(rows) != said["rows"]:
            raise UserError(f"{path}: expected packed predictions of format {FORMAT} and their rows; {_AGAIN}")
        gold = np.array(rows["gold"], dtype=np.int64)
        predicted = _numbers(said["prediction"], "<i2").astype(np.int64)
        probabilities = _numbers(said["log_probabilities"], "<f2").astype(np.float64)
        return Predictions(
            tuple(map(str, rows["ids"])),
            gold,
            predicted.reshape(len(rows["ids"])),
            probabilities.reshape(len(gold), int(said["labels"])),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: expected packed predictions, but they are damaged ({error}); {_AGAIN}") from error


def packed_text(values: Mapping[str, Any]) -> str:
    """Return packed values as a file has them, without a blank."""
    return json.dumps(values, separators=(",", ":"), sort_keys=True, ensure_ascii=False) + "\n"


def _text(numbers: Any) -> str:
    return base64.b64encode(numbers.tobytes()).decode("ascii")


def _numbers(text: str, kind: str) -> Any:
    return np.frombuffer(base64.b64decode(text, validate=True), dtype=kind)
