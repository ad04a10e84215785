"""The record of a finished run, `records/<run-id>.json`; `predictions` reads the file that it names.

A record has the sha256 of its own content and may have that of its predictions: a file that was cut off or changed by
hand is found and named, and never read as a result. Older records without hashes are read as they are.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from crossflare.disk.files import canonical, read_json, write_json
from crossflare.disk.versions import FORMATS, check_format
from crossflare.errors import UserError
from crossflare.evaluation.metrics import Labels
from crossflare.evaluation.signature import Signature

_AGAIN = "delete it and run again"


class CurvePoint(TypedDict):
    """One point of a training curve, with one or both of the two values measured there."""

    step: int
    loss: NotRequired[float]
    dev_score: NotRequired[float]


class Trial(TypedDict):
    """One learning rate that was tried, and its score on the dev part."""

    lr: float
    dev_score: float


class TrainingRecord(TypedDict, total=False):
    """How a run was trained; empty for a method that trains nothing."""

    lr: float
    chosen_from: list[Trial]
    steps: int
    trainable_parameters: int
    curve: list[CurvePoint]
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
    """Metric -> score, 0 to 1."""
    signature: Mapping[str, Any]
    """The fields of `Signature` without the metric, since one record holds several."""
    predictions: str
    """Path of the predictions, relative to the run folder."""
    predictions_sha256: str = ""
    """The sha256 of the file of predictions, where it is known: see `load_predictions`."""
    model: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """`name`, `digest`."""
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Content ids of `train`, `dev`, `test`, and `n_test`."""
    translation: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The identities of the engines `to_target` and `to_source`, or null."""
    counts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """`truncated` by side (`target`, `source`), `empty`, `no_source`; `unanswerable`, questions that are not scored;
    `windows`, where long texts are read in windows: `rows` with several, how many were `read`, and `most` of a row."""
    training: TrainingRecord = field(default_factory=lambda: TrainingRecord())
    calibration: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """`temperature` of the probabilities, the `language` of the dev rows that it was fitted on, and how many `rows`;
    empty where there is no temperature. The predictions themselves keep the model's probabilities."""
    timings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Seconds by stage; `peak_memory` in bytes where it was measured."""
    hardware: Mapping[str, Any] = field(default_factory=dict[str, Any])
    versions: Mapping[str, Any] = field(default_factory=dict[str, Any])
    warnings: Sequence[str] = field(default_factory=list[str])
    """Warnings while the model and its predictions were made, from crossflare or from a library it uses."""
    format: int = FORMATS["a record"]

    def signature_of(self, metric: str) -> Signature:
        """Return the signature of one of the scores."""
        more = {} if metric == "macro_f1" else {"labels": "all"}
        return Signature.from_json(self.signature, metric=metric, **more)

    @property
    def labels(self) -> Labels:
        """The labels that macro-F1 averages over in this record."""
        return self.signature_of("macro_f1").labels


def save_record(path: Path, record: Record) -> None:
    """Write a record with its hash, atomically.

    Raises:
        UserError: A score is not a number between 0 and 1, or another value is not a number: nothing is written.
    """
    _check_scores(path, record.scores)
    try:
        write_json(path, sealed(asdict(record)))
    except UserError:
        raise
    except ValueError as error:
        said = f"{path}: expected finite numbers in a record, got one that is not; {_AGAIN}"
        raise UserError(said, "numbers") from error


def sealed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record's JSON object with the hash of all its other fields as `sha256`."""
    # as it will be read: JSON turns tuples into lists, and keys that are numbers into texts, which sort differently
    content = json.loads(canonical({name: value for name, value in values.items() if name != "sha256"}))
    return {**content, "sha256": hashlib.sha256(canonical(content).encode()).hexdigest()}


def load_record(path: Path) -> Record:
    """Read a record.

    Raises:
        UserError: The file is missing, damaged, changed since it was written, of another format, or lacks something.
    """
    values = read_json(path, _AGAIN)
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected a record, got {type(values).__name__}; {_AGAIN}")
    check_format("a record", values.get("format"), path, _AGAIN)
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
        if not isinstance(score, int | float) or not 0 <= score <= 1:  # NaN fails every comparison
            raise UserError(f"{path}: expected {metric} between 0 and 1, got {score!r}; {_AGAIN}")


_KINDS: dict[str, type] = {
    **dict.fromkeys(("run_id", "spec_name", "language", "predictions", "predictions_sha256"), str),
    **dict.fromkeys(("method", "task", "scores", "signature", "model", "data", "translation"), dict),
    **dict.fromkeys(("calibration", "counts", "training", "timings", "hardware", "versions"), dict),
    "seed": int,
}
