"""The files a finished run leaves: `records/<run-id>.json` and the predictions it names, both of format 1."""

import json
import operator
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np

from crossflare.errors import UserError
from crossflare.evaluation.metrics import FloatArray, IntArray
from crossflare.evaluation.signature import Signature
from crossflare.files import read_json, write_json

FORMAT = 1
_AGAIN = "delete it and run again"


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
    """`name`, `version`, and `labels`, a list of names."""
    scores: Mapping[str, float]
    """Metric to score, 0 to 1."""
    signature: Mapping[str, Any]
    """The fields of `Signature` apart from the metric: one record holds several."""
    predictions: str
    """Path of the predictions, relative to the run folder."""
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
    """Seconds by stage."""
    hardware: Mapping[str, Any] = field(default_factory=dict[str, Any])
    versions: Mapping[str, Any] = field(default_factory=dict[str, Any])
    format: int = FORMAT

    def signature_of(self, metric: str) -> Signature:
        """Return the signature of one of the scores."""
        return Signature.from_json(self.signature, metric=metric)


def save_record(path: Path, record: Record) -> None:
    """Write a record, atomically."""
    write_json(path, asdict(record))


def load_record(path: Path) -> Record:
    """Read a record.

    Raises:
        UserError: The file is missing, damaged, of another format, or lacks something.
    """
    values = read_json(path)
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected a record, got {type(values).__name__}; {_AGAIN}")
    if values.get("format") != FORMAT:
        raise UserError(f"{path}: expected a record of format {FORMAT}, got {values.get('format')!r}; {_AGAIN}")
    try:
        record = Record(**values)
    except TypeError as error:
        raise UserError(f"{path}: not the fields of a record ({str(error).split(') ')[-1]}); {_AGAIN}") from error
    for name, kind in _KINDS.items():
        if not isinstance(getattr(record, name), kind):
            raise UserError(f"{path}: expected {name} as {kind.__name__}, got {getattr(record, name)!r}; {_AGAIN}")
    for name, part, kind in (("method", "name", str), ("task", "labels", list)):
        if not isinstance(getattr(record, name).get(part), kind):
            raise UserError(f"{path}: expected {name}.{part} as {kind.__name__}, found none; {_AGAIN}")
    for metric, score in values["scores"].items():
        if not isinstance(score, int | float) or not 0 <= score <= 1:
            raise UserError(f"{path}: expected {metric} between 0 and 1, got {score!r}; {_AGAIN}")
        try:
            record.signature_of(metric)
        except UserError as error:
            raise UserError(f"{path}: {error}; {_AGAIN}") from error
    return record


_KINDS: dict[str, type] = {
    **dict.fromkeys(("run_id", "spec_name", "language", "predictions"), str),
    **dict.fromkeys(("method", "task", "scores", "signature", "model", "data", "translation"), dict),
    **dict.fromkeys(("counts", "training", "timings", "hardware", "versions"), dict),
    "seed": int,
}


@dataclass(frozen=True, slots=True)
class Predictions:
    """What one run predicted, in the order of its file."""

    ids: tuple[str, ...]
    gold: IntArray
    """[N] label indices."""
    predicted: IntArray
    """[N] label indices, -1 where no label was given."""
    log_probabilities: FloatArray
    """[N, K]; [N, 0] where the file has none."""


def load_predictions(path: Path) -> Predictions:
    """Read predictions, one JSON object a line: id, gold, prediction, and maybe log_probabilities.

    Raises:
        UserError: The file is missing, empty or damaged; the line is named.
    """
    again = "delete its record and run again"
    try:
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: expected predictions, but they cannot be read ({error}); {again}") from error
    ids: list[str] = []
    labels: list[tuple[int, int]] = []
    scores: list[list[float]] = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            ids.append(str(row["id"]))
            labels.append((operator.index(row["gold"]), operator.index(row["prediction"])))
            scores.append([float(value) for value in row.get("log_probabilities", [])])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path}:{number}: expected a prediction, but the line is damaged; {again}") from error
    if len({len(row) for row in scores}) > 1:
        raise UserError(f"{path}: expected as many log_probabilities in every row, got unequal rows; {again}")
    array = np.array(labels, dtype=np.int64)
    return Predictions(tuple(ids), array[:, 0], array[:, 1], np.array(scores, dtype=np.float64))
