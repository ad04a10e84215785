"""The files a finished run leaves: `records/<run-id>.json` and the predictions it names, both of format 1.

A record carries the sha256 of its own content and may carry that of its predictions: a file that was cut off or changed
by hand is found and named, never read as a result. Older records without them are read as they are.
"""

import hashlib
import json
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NotRequired, TypedDict, TypeVar

import numpy as np

from crossflare.errors import UserError
from crossflare.evaluation.metrics import FloatArray, IntArray
from crossflare.evaluation.signature import Signature
from crossflare.files import canonical, digest_file, read_json, write_json

FORMAT = 1
_AGAIN = "delete it and run again"
_ANEW = "delete its record and run again"
T = TypeVar("T")


class Point(TypedDict):
    """One point of a training curve, with whichever of the three values was measured there."""

    step: int
    epoch: NotRequired[float]
    loss: NotRequired[float]
    dev_loss: NotRequired[float]
    dev_score: NotRequired[float]


class Trial(TypedDict):
    """One learning rate that was tried, and what it reached on the dev part."""

    lr: float
    dev_score: float


class Training(TypedDict, total=False):
    """How a run was trained; empty for a method that trains nothing."""

    lr: float
    chosen_from: list[Trial]
    steps: int
    trainable_parameters: int
    curve: list[Point]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One method in one language with one seed. The mappings are JSON objects; optional ones may be empty."""

    run_id: str
    spec_name: str
    method: Mapping[str, Any]
    """`name`, `kind`, and the method's options."""
    language: str
    seed: int
    task: Mapping[str, Any]
    """`name`, `version`, and `labels`, a list of names, empty for questions."""
    scores: Mapping[str, float]
    """Metric to score, 0 to 1."""
    signature: Mapping[str, Any]
    """The fields of `Signature` apart from the metric: one record holds several."""
    predictions: str
    """Path of the predictions, relative to the run folder."""
    predictions_sha256: str = ""
    """Of the file of predictions, where it is known: see `load_predictions`."""
    model: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """`name`, `digest`."""
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Content ids of `train`, `dev`, `test`, and `n_test`."""
    translation: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Identity of the engine `to_target` and `to_source`, or null."""
    counts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """`truncated` by side (`target`, `source`), `empty`, `no_source`."""
    training: Training = field(default_factory=lambda: Training())
    timings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Seconds by stage; `peak_memory` in bytes where it was measured."""
    hardware: Mapping[str, Any] = field(default_factory=dict[str, Any])
    versions: Mapping[str, Any] = field(default_factory=dict[str, Any])
    format: int = FORMAT

    def signature_of(self, metric: str) -> Signature:
        """Return the signature of one of the scores."""
        return Signature.from_json(self.signature, metric=metric)


def save_record(path: Path, record: Record) -> None:
    """Write a record with its hash, atomically.

    Raises:
        UserError: A score is no number between 0 and 1, or another value is no number: nothing is written.
    """
    _check_scores(path, record.scores)
    try:
        write_json(path, sealed(asdict(record)))
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{path}: expected finite numbers in a record, got one that is not; {_AGAIN}") from error


def sealed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record's JSON object with the hash of all its other fields as `sha256`."""
    # as it will be read: JSON turns tuples into lists and numbers that are keys into texts, which sort otherwise
    content = json.loads(canonical({name: value for name, value in values.items() if name != "sha256"}))
    return {**content, "sha256": hashlib.sha256(canonical(content).encode()).hexdigest()}


def load_record(path: Path) -> Record:
    """Read a record.

    Raises:
        UserError: The file is missing, damaged, changed since it was written, of another format, or lacks something.
    """
    values = read_json(path)
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected a record, got {type(values).__name__}; {_AGAIN}")
    said = values.get("format")
    if said != FORMAT:
        newer = "upgrade crossflare, or " if isinstance(said, int) and said > FORMAT else ""
        raise UserError(f"{path}: expected a record of format {FORMAT}, got {said!r}; {newer}{_AGAIN}")
    _check_sealed(path, values)
    try:
        record = Record(**{name: value for name, value in values.items() if name != "sha256"})
    except TypeError as error:
        raise UserError(f"{path}: not the fields of a record ({str(error).split(') ')[-1]}); {_AGAIN}") from error
    for name, kind in _KINDS.items():
        if not isinstance(getattr(record, name), kind):
            raise UserError(f"{path}: expected {name} as {kind.__name__}, got {getattr(record, name)!r}; {_AGAIN}")
    for name, part, kind in (("method", "name", str), ("task", "labels", list)):
        if not isinstance(getattr(record, name).get(part), kind):
            raise UserError(f"{path}: expected {name}.{part} as {kind.__name__}, found none; {_AGAIN}")
    _check_scores(path, record.scores)
    for metric in record.scores:
        try:
            record.signature_of(metric)
        except UserError as error:
            raise UserError(f"{path}: {error}; {_AGAIN}") from error
    return record


def _check_sealed(path: Path, values: dict[str, Any]) -> None:
    if "sha256" not in values:
        return
    try:
        intact = sealed(values)["sha256"] == values["sha256"]
    except ValueError:  # NaN, which no saved record holds
        intact = False
    if not intact:
        raise UserError(f"{path}: expected the record as it was saved, found it changed (its sha256 differs); {_AGAIN}")


def _check_scores(path: Path, scores: Mapping[str, Any]) -> None:
    for metric, score in scores.items():
        if not isinstance(score, int | float) or not 0 <= score <= 1:  # NaN is in no order
            raise UserError(f"{path}: expected {metric} between 0 and 1, got {score!r}; {_AGAIN}")


_KINDS: dict[str, type] = {
    **dict.fromkeys(("run_id", "spec_name", "language", "predictions", "predictions_sha256"), str),
    **dict.fromkeys(("method", "task", "scores", "signature", "model", "data", "translation"), dict),
    **dict.fromkeys(("counts", "training", "timings", "hardware", "versions"), dict),
    "seed": int,
}


@dataclass(frozen=True, slots=True)
class Predictions:
    """The labels that one run predicted, in the order of its file."""

    ids: tuple[str, ...]
    gold: IntArray
    """[N] label indices."""
    predicted: IntArray
    """[N] label indices, -1 where no label was given."""
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
    """Metric to the score [N] of each question; see `ANSWER_METRICS`."""

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
"""The scores that a row of answers may hold, each from 0 to 1; the first two it must."""


def load_predictions(path: Path, sha256: str = "") -> Predictions | AnswerPredictions:
    """Read predictions, one JSON object a line: labels where `gold` is a number, answers where it is a list of texts.

    A label's row has id, gold, prediction, and maybe log_probabilities; an answer's has id, gold, prediction,
    exact_match, f1, and maybe position_match.

    Args:
        path: The file.
        sha256: What the record says of the file; nothing is checked where it says nothing.

    Raises:
        UserError: The file is missing, empty, damaged (the line is named), or not the one that was written.
    """
    try:
        if sha256 and digest_file(path) != sha256:
            raise UserError(f"{path}: expected the predictions as saved, found them changed (sha256 differs); {_ANEW}")
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: expected predictions, but they cannot be read ({error}); {_ANEW}") from error
    first = _parsed(path, 1, lines[0], lambda row: row)
    return _answers(path, lines) if isinstance(first.get("gold"), list) else _labels(path, lines)


def _labels(path: Path, lines: Sequence[str]) -> Predictions:
    def read(row: dict[str, Any]) -> tuple[str, int, int, list[float]]:
        gold, predicted = operator.index(row["gold"]), operator.index(row["prediction"])
        return str(row["id"]), gold, predicted, [float(value) for value in row.get("log_probabilities", [])]

    rows = [_parsed(path, number, line, read) for number, line in enumerate(lines, 1)]
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

    rows = [_parsed(path, number, line, read) for number, line in enumerate(lines, 1)]
    if len({tuple(row[3]) for row in rows}) > 1:
        raise UserError(f"{path}: expected the same scores in every row, got position_match in some; {_ANEW}")
    values = {name: np.array([row[3][name] for row in rows]) for name in rows[0][3]}
    return AnswerPredictions(
        tuple(row[0] for row in rows), tuple(row[1] for row in rows), tuple(row[2] for row in rows), values
    )


def _parsed(path: Path, number: int, line: str, read: Callable[[dict[str, Any]], T]) -> T:
    """Return what `read` makes of one line; whatever is wrong with it, the line is named."""
    try:
        row = json.loads(line)
        if not isinstance(row, dict):
            raise TypeError
        return read(row)  # pyright: ignore[reportUnknownArgumentType]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}:{number}: expected a prediction, but the line is damaged; {_ANEW}") from error
