"""The predictions of a run for each test row, as in its file: labels, or answers to questions.

predictions/ID.jsonl           a line for each row
predictions/ID.packed.json     label indices and log-probabilities in 16 bits, without any text: can be published
predictions/rows-HASH.json     the rows of packed predictions: ids, gold labels, licence of the set
"""

import base64
import hashlib
import json
import operator
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from crossflare.disk.files import content_id, read_json
from crossflare.disk.versions import FORMATS, check_format
from crossflare.errors import UserError
from crossflare.evaluation.metrics import FloatArray, IntArray
from crossflare.evaluation.significance import RESAMPLES, Interval, interval, sample, sample_values

PACKED = ".packed.json"
"""The end of the name of a file whose predictions are packed."""
_ANEW, _AGAIN = "delete its record and run again", "fetch it again"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Predictions:
    """The labels that one run predicted, in the order of its file."""

    ids: tuple[str, ...]
    gold: IntArray
    """[N] label indices."""
    predicted: IntArray
    """[N] label indices, -1 where no label was predicted."""
    log_probabilities: FloatArray
    """[N, K]; [N, 0] where the file has none."""

    def take(self, order: Sequence[int]) -> "Predictions":
        """Return these rows in this order."""
        where = list(order)
        ids = tuple(self.ids[index] for index in where)
        return Predictions(ids, self.gold[where], self.predicted[where], self.log_probabilities[where])


@dataclass(frozen=True, slots=True)
class AnswerPredictions:
    """The answers that one run gave, in the order of its file."""

    ids: tuple[str, ...]
    golds: tuple[tuple[str, ...], ...]
    """The gold answers of each of N questions."""
    texts: tuple[str, ...]
    """The N answers."""
    values: Mapping[str, FloatArray]
    """Metric -> the score [N] of each question; see `ANSWER_METRICS`."""

    def take(self, order: Sequence[int]) -> "AnswerPredictions":
        """Return these rows in this order."""
        where = list(order)
        return AnswerPredictions(
            tuple(self.ids[index] for index in where),
            tuple(self.golds[index] for index in where),
            tuple(self.texts[index] for index in where),
            {name: column[where] for name, column in self.values.items()},
        )


ANSWER_METRICS = ("exact_match", "f1", "position_match")
"""The scores that a row of answers may hold, each from 0 to 1; the first two are required."""


def load_predictions(
    path: Path, sha256: str = "", rows: MutableMapping[Path, Any] | None = None
) -> Predictions | AnswerPredictions:
    """Read the predictions of a run: labels where `gold` is a number, answers where it is a list of texts.

    A label's line has id, gold, prediction, and perhaps log_probabilities; an answer's has id, gold, prediction,
    exact_match, f1, and perhaps position_match. Packed predictions are recognised by their name, and are labels.

    Args:
        path: The file.
        sha256: The hash of the file in the record; empty: nothing is checked.
        rows: The files of rows that were read before; the file that packed predictions name is added.

    Raises:
        UserError: The file is missing, empty, damaged (the message names the line), not the one that was written, or of
            another format.
    """
    packed = path.name.endswith(PACKED)
    advice = _AGAIN if packed else _ANEW
    try:
        content = path.read_bytes()
        if sha256 and hashlib.sha256(content).hexdigest() != sha256:
            said = f"{path}: expected the predictions as saved, found them changed (sha256 differs); {advice}"
            raise UserError(said)
        text = content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: expected predictions, but they cannot be read ({error}); {advice}") from error
    if packed:
        return _unpacked(path, text, {} if rows is None else rows)
    lines = text.removesuffix("\n").split("\n")
    first = read_line(path, 1, lines[0], lambda row: row)
    return _answers(path, lines) if isinstance(first.get("gold"), list) else _labels(path, lines)


def _labels(path: Path, lines: Sequence[str]) -> Predictions:
    def read(row: dict[str, Any]) -> tuple[str, int, int, list[float]]:
        gold, predicted = operator.index(row["gold"]), operator.index(row["prediction"])
        return str(row["id"]), gold, predicted, [float(value) for value in row.get("log_probabilities", [])]

    rows = [read_line(path, number, line, read) for number, line in enumerate(lines, 1)]
    if len({len(row[3]) for row in rows}) > 1:
        raise UserError(f"{path}: expected as many log_probabilities in every row, got unequal rows; {_ANEW}")
    gold, predicted = (np.array([row[place] for row in rows], dtype=np.int64) for place in (1, 2))
    return Predictions(tuple(row[0] for row in rows), gold, predicted, np.array([row[3] for row in rows]))


def _answers(path: Path, lines: Sequence[str]) -> AnswerPredictions:
    def read(row: dict[str, Any]) -> tuple[str, tuple[str, ...], str, dict[str, float]]:
        values = {name: float(row[name]) for name in ANSWER_METRICS if name in row or name != "position_match"}
        texts = [*row["gold"], row["prediction"]]
        sound = all(isinstance(text, str) for text in texts) and all(0 <= value <= 1 for value in values.values())
        if not sound or len(texts) < 2:
            raise ValueError
        return str(row["id"]), tuple(row["gold"]), row["prediction"], values

    rows = [read_line(path, number, line, read) for number, line in enumerate(lines, 1)]
    if len({tuple(row[3]) for row in rows}) > 1:
        raise UserError(f"{path}: expected the same scores in every row, got position_match in some; {_ANEW}")
    values = {name: np.array([row[3][name] for row in rows]) for name in rows[0][3]}
    return AnswerPredictions(
        tuple(row[0] for row in rows), tuple(row[1] for row in rows), tuple(row[2] for row in rows), values
    )


def read_line(
    path: Path,
    number: int,
    line: str,
    read: Callable[[dict[str, Any]], T],
    what: str = "a prediction",
    advice: str = _ANEW,
) -> T:
    """Return the result of `read` for one line of a file.

    Raises:
        UserError: The line is faulty; the message names it, with `what` it should be and the `advice`.
    """
    try:
        row = json.loads(line)
        if not isinstance(row, dict):
            raise TypeError
        return read(row)  # pyright: ignore[reportUnknownArgumentType]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}:{number}: expected {what}, but the line is damaged; {advice}") from error


def pack(found: Predictions, licence: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the rows, and the predictions for them, as JSON values.

    Args:
        found: N rows; labels are from -1, none, to 32767.
        licence: The licence of the set that the row ids and gold labels come from.
    """
    version = FORMATS["packed predictions"]
    rows = {"format": version, "licence": licence, "ids": list(found.ids), "gold": found.gold.tolist()}
    said = {
        "format": version,
        "rows": content_id(rows),
        "prediction": _text(found.predicted.astype("<i2")),
        "log_probabilities": _text(found.log_probabilities.astype("<f2")),
        "labels": int(found.log_probabilities.shape[1]),
    }
    return rows, said


def rows_file(said: Mapping[str, Any]) -> str:
    """Return the name of the file with the rows of packed predictions."""
    return f"rows-{said['rows']}.json"


def packed_text(values: Mapping[str, Any]) -> str:
    """Return packed values as the text of a file, without blanks."""
    return json.dumps(values, separators=(",", ":"), sort_keys=True, ensure_ascii=False) + "\n"


def _unpacked(path: Path, text: str, known: MutableMapping[Path, Any]) -> Predictions:
    try:
        said = json.loads(text)
        check_format("packed predictions", said.get("format"), path, _AGAIN)
        beside = path.parent / rows_file(said)
        if beside not in known:
            known[beside] = read_json(beside, _AGAIN)
        rows = known[beside]
        if content_id(rows) != said["rows"]:
            raise UserError(f"{path}: expected packed predictions and their rows; {_AGAIN}")
        gold = np.array(rows["gold"], dtype=np.int64)
        predicted = _numbers(said["prediction"], "<i2").astype(np.int64)
        probabilities = _numbers(said["log_probabilities"], "<f2").astype(np.float64)
        return Predictions(
            tuple(map(str, rows["ids"])),
            gold,
            predicted.reshape(len(rows["ids"])),
            probabilities.reshape(len(gold), int(said["labels"])),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: expected packed predictions, but they are damaged ({error}); {_AGAIN}") from error


def _text(numbers: Any) -> str:
    return base64.b64encode(numbers.tobytes()).decode("ascii")


def _numbers(text: str, kind: str) -> Any:
    return np.frombuffer(base64.b64decode(text, validate=True), dtype=kind)


MOST = 5_000_000
"""The most draws of a first look, so that it takes less time than the prediction. A report draws all resamples."""


def first_look(found: Predictions | AnswerPredictions, classes: int, metric: str) -> Interval:
    """Return the score of one run and its interval over the test rows alone, from fewer resamples for many rows.

    Raises:
        UserError: The predictions cannot be scored.
    """
    return run_intervals(found, classes, max(1000, min(RESAMPLES, MOST // max(1, len(found.ids)))))[metric]


def run_intervals(
    found: Predictions | AnswerPredictions, classes: int, resamples: int = RESAMPLES
) -> dict[str, Interval]:
    """Return every metric's score of one run and its interval over the test rows alone, as a report has them.

    Raises:
        UserError: The predictions cannot be scored.
    """
    found = found.take(sorted(range(len(found.ids)), key=found.ids.__getitem__))  # the order of a report
    if isinstance(found, AnswerPredictions):
        drawn = sample_values(found.ids, found.golds, found.values, [0], resamples=resamples)
    else:
        drawn = sample(found.ids, found.gold, found.predicted, classes, [0], resamples=resamples)
    return {metric: interval(each) for metric, each in drawn.items()}
