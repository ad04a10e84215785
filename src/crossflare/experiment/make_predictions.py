"""How predictions are made: by a model that reads the test rows, or as the average of other predictions."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from crossflare.evaluation.metrics import METRICS, FloatArray, score
from crossflare.evaluation.predict import Outputs, average, predict
from crossflare.evaluation.record import Record, load_predictions, save_record
from crossflare.experiment.data import counts
from crossflare.experiment.environment import hardware, versions
from crossflare.experiment.make_models import load_base_of, task_card
from crossflare.experiment.predictions import Prediction
from crossflare.experiment.stages import Stage2
from crossflare.files import read_json, write_atomic
from crossflare.fusion.adapter_files import CARD, load_adapter
from crossflare.tasks.example import Split

DIGITS = 6
"""Decimals of a log-probability on disk."""


def make_prediction(step: Prediction) -> None:
    """Predict the test rows and write the predictions, then the record that names them."""
    started = time.monotonic()
    split = step.context.data.test(step.language, step.test_source)
    outputs = _average(step) if step.parts else _read(step, split)
    _write_predictions(step.predictions, split, outputs)
    save_record(step.record, _record(step, split, outputs, time.monotonic() - started))


def _read(step: Prediction, split: Split) -> Outputs:
    """Load the step's model and let it read the test rows."""
    context = step.context
    base, identity = load_base_of(context, step.seed)
    model = load_adapter(base.model, step.model.path, base=identity)
    return predict(
        model,
        base.tokenizer,
        split.examples,
        read=step.about.reads,
        latents=context.data.latents(split) if step.about.reads == "latents" else None,
        max_length=context.spec.stage2.max_length,
        precision=context.spec.stage2.precision,
    )


def _average(step: Prediction) -> Outputs:
    """Average the log-probabilities of two predictions, or of one and the base model's own for the source."""
    parts = [load_predictions(part.predictions).log_probabilities for part in step.parts]
    if step.method.kind == "flare+source":
        parts.append(_source_log_probabilities(step.parts[0].predictions, parts[0].shape[1]))
    truncated = [read_json(part.record)["counts"]["truncated"] for part in step.parts]
    most = {side: max(each.get(side, 0) for each in truncated) for side in ("target", "source")}
    return Outputs(average(*parts), None, most)


def _source_log_probabilities(path: Path, labels: int) -> FloatArray:
    missing = [float("nan")] * labels
    rows = [json.loads(line).get("source_log_probabilities") for line in path.read_text("utf-8").splitlines()]
    return np.array([missing if row is None else row for row in rows])


def _write_predictions(path: Path, split: Split, outputs: Outputs) -> None:
    lines: list[str] = []
    for number, (example, guess) in enumerate(zip(split, outputs.predicted, strict=True)):
        row: dict[str, Any] = {
            "id": example.id,
            "gold": example.label,
            "prediction": int(guess),
            "correct": int(guess == example.label),
            "log_probabilities": _rounded(outputs.log_probabilities[number]),
        }
        if outputs.source is not None:
            own = outputs.source[number]
            row["source_log_probabilities"] = _rounded(own) if np.isfinite(own).all() else None
        lines.append(json.dumps(row) + "\n")
    write_atomic(path, "".join(lines))


def _rounded(values: FloatArray) -> list[float]:
    return [round(float(value), DIGITS) for value in values]


def _record(step: Prediction, split: Split, outputs: Outputs, seconds: float) -> Record:
    context, data = step.context, step.context.data
    model = read_json(step.model.path / CARD)
    gold = [-1 if example.label is None else example.label for example in split]  # -1 is refused by `score`
    labels = len(data.task.labels)
    training = dict(model["training"])
    if isinstance(step.model, Stage2) and step.model.trials:
        training["chosen_from"] = step.model.trial_scores()
    return Record(
        run_id=step.id,
        spec_name=context.spec.name,
        method={"name": step.method.name, **_options(step)},
        language=step.language,
        seed=step.seed,
        task=task_card(context),
        model={"name": context.spec.model.name, "digest": model["base"]["digest"], "id": step.model.id},
        data={**model["data"], "test": split.digest, "n_test": len(split)},
        translation={
            "to_target": data.identity_to_target(step.language),
            "to_source": dict(data.identity(step.language, step.test_source) or {}) or None,
        },
        scores={name: score(name, gold, outputs.predicted, labels) for name in METRICS},
        signature=_signature(step, split, model["base"]["digest"]),
        counts={"truncated": outputs.truncated, **counts(split.examples)},
        training=training,  # type: ignore[arg-type]  # the fields of a Training
        timings={"predict": round(seconds, 2), "train": training["seconds"]},
        hardware=hardware(),
        versions=versions(),
        predictions=f"{step.predictions.parent.name}/{step.predictions.name}",
    )


def _signature(step: Prediction, split: Split, digest: str) -> dict[str, Any]:
    context = step.context
    return {
        "task": context.data.set.name,
        "task_version": str(context.data.task.version),
        "split": split.part,
        "language": step.language,
        "n": len(split),
        "model": context.spec.model.name,
        "model_digest": digest[:12],
        "source": context.data.made_by(step.language, step.test_source),
        "method": step.method.name,
        "seeds": [step.seed],
        "data": split.digest,
        "version": versions()["crossflare"],
    }


def _options(step: Prediction) -> dict[str, Any]:
    """Return what says how the method differs: its kind, and the options of the adapter it reads."""
    method = step.method
    options: dict[str, Any] = {"kind": method.kind} | ({"of": method.of} if method.of else {})
    if isinstance(step.model, Stage2):
        trained = step.model.method
        options |= {name: getattr(trained, name) for name in sorted(trained.options & ADAPTER_FIELDS)}
    if step.about.reads_source:
        options["test_source"] = step.test_source
    return options


ADAPTER_FIELDS = frozenset({"train_source", "fusion", "alignment", "lead", "source_dropout"})
