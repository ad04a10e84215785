"""How predictions are made: by a model that reads the test rows, or as a combination of other predictions."""

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from crossflare.disk.files import CARD, digest_file, read_json, write_atomic
from crossflare.evaluation.folder import RunFiles
from crossflare.evaluation.metrics import FloatArray
from crossflare.evaluation.predictions import Predictions, load_predictions
from crossflare.evaluation.record import Record, save_record
from crossflare.evaluation.scoring import scoring, stack
from crossflare.experiment.data.controls import counts
from crossflare.experiment.making.building import hardware, task_card, versions
from crossflare.experiment.making.calibrating import calibration_of
from crossflare.experiment.making.outside import Cut, Origin, answered_outside, answers_back
from crossflare.experiment.steps.models import MIXING_OPTIONS
from crossflare.experiment.steps.prediction import PredictionStep
from crossflare.libraries.heard import so_far
from crossflare.recipe.methods import SHAPING
from crossflare.serving.adapter import TrainedAdapter, load_trained
from crossflare.serving.card import ReadSettings, Saved, read_saved
from crossflare.tasks.dataset import left_out
from crossflare.tasks.example import Split
from crossflare.training.forms.protocol import Choices, Outputs, average


def make_prediction(step: PredictionStep) -> None:
    """Predict the test rows; write the predictions, then the record that names them."""
    started = time.monotonic()
    split = _split(step)
    outside = answered_outside(step, split) if step.about.outside else None
    model = None if step.parts or outside else load_model(step)
    if outside is not None:
        outputs, cut = outside.outputs, outside.counts
    else:
        outputs, cut = _combine(step) if model is None else _read_alone(step, model, split)
    scored = scoring(step.context.data.task, step.language)
    _write_predictions(step.predictions, split, scored.rows(split.examples, outputs))
    if step.test_source == "machine" and step.split == "test":
        _write_examples(step, split)
    scores = scored.scores(split.examples, outputs)
    seconds = time.monotonic() - started
    origin = _origin_of_model(step) if outside is None else outside.origin
    read = outside.read_dev if outside is not None else lambda dev, rows: _read_dev(dev, rows, model)
    calibration = calibration_of(step, read) if read is not None else {}
    record = _record(step, split, scores, cut, seconds, origin)
    save_record(step.record, replace(record, calibration=calibration))


def load_model(step: PredictionStep, saved: Saved | None = None) -> TrainedAdapter:
    """Load the step's model on the recipe's base; it reads rows with the settings of the recipe's stage 2.

    Args:
        step: The step.
        saved: The model to load in place of the step's own.
    """
    spec, own = step.context.spec, step.context.spec.stage2
    reading = ReadSettings(own.max_length, own.stride, own.answer_tokens, own.precision)
    return load_trained(saved or read_saved(step.model.path), base=spec.model, reading=reading)


def read_split(step: PredictionStep, model: TrainedAdapter, split: Split) -> Outputs:
    """Return the step's model's outputs for rows, with their sources if the method reads them."""
    reads = "target" if step.about.reads == "both" and step.test_source == "none" else step.about.reads
    latents = step.context.data.translations.latents(split) if reads == "latents" else None
    return model.read(split.examples, reads, latents=latents)


def _read_dev(step: PredictionStep, rows: Split, model: TrainedAdapter | None) -> Outputs:
    """Return a method's outputs for dev rows: saved ones for a stack, else from its model, which may be loaded."""
    if not step.done():
        return read_split(step, model or load_model(step), rows)
    source = _source_log_probabilities(step.predictions, len(step.context.data.task.labels))
    return Choices(_log_probabilities(step), source)


def _read(step: PredictionStep, model: TrainedAdapter, split: Split) -> Outputs:
    """Return a model's outputs for the test rows, with answers translated back into the rows' language."""
    return answers_back(step, read_split(step, model, split), split)


def _read_alone(step: PredictionStep, model: TrainedAdapter, split: Split) -> tuple[Outputs, Cut]:
    """Return the step's model's outputs for the test rows, and how many rows were cut or read in windows."""
    outputs = _read(step, model, split)
    cut: Cut = {"truncated": outputs.truncated}
    if isinstance(outputs, Choices) and outputs.windows is not None:
        several = outputs.windows[outputs.windows > 1]
        cut["windows"] = {"rows": len(several), "read": int(several.sum()), "most": int(several.max(initial=1))}
    return outputs, cut


def _combine(step: PredictionStep) -> tuple[Outputs, Cut]:
    """Average or stack two predictions' log-probabilities, or average one with the base model's own for the source.

    Of the parts' counts of cut rows, the larger ones are returned.
    """
    parts = [_log_probabilities(part) for part in step.parts]
    if step.fitted_on:
        dev = step.fitted_on
        gold = [-1 if example.label is None else example.label for example in _split(dev[0])]
        made = stack([_log_probabilities(part) for part in dev], gold, parts)
    elif step.about.combines == "own source":
        made = average(*parts, _source_log_probabilities(step.parts[0].predictions, parts[0].shape[1]))
    else:
        made = average(*parts)
    cut: Cut = {"truncated": {"target": 0, "source": 0}}
    for part in step.parts:
        said = read_json(part.record)["counts"]
        for what in ("truncated", "windows"):
            for name, count in said.get(what, {}).items():
                own = cut.setdefault(what, {})
                own[name] = max(own.get(name, 0), count)
    return Choices(made, None), cut


def _split(step: PredictionStep) -> Split:
    data = step.context.data
    return (data.test if step.split == "test" else data.dev)(step.language, step.test_source)


def _log_probabilities(step: PredictionStep) -> FloatArray:
    said = load_predictions(step.predictions)
    assert isinstance(said, Predictions), "recipes combine labels only"
    return said.log_probabilities


def _source_log_probabilities(path: Path, labels: int) -> FloatArray:
    missing = [float("nan")] * labels
    rows = [json.loads(line).get("source_log_probabilities") for line in path.read_text("utf-8").splitlines()]
    return np.array([missing if row is None else row for row in rows])


def _write_predictions(path: Path, split: Split, rows: list[dict[str, Any]]) -> None:
    lines = [json.dumps({"id": example.id, **row}) + "\n" for example, row in zip(split, rows, strict=True)]
    write_atomic(path, "".join(lines))


def _write_examples(step: PredictionStep, split: Split) -> None:
    """Write the texts of the test rows once, for people who look at single rows; no score depends on them."""
    path = RunFiles(step.context.folder).examples(step.language)
    if not path.is_file():
        rows = ({"id": e.id, "texts": e.texts, "source": e.source} for e in split)
        write_atomic(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _origin_of_model(step: PredictionStep) -> Origin:
    """Return what the card of the step's model says about it, for a record."""
    card, name = read_json(step.model.path / CARD), step.context.spec.model.name
    training, digest = dict(card["training"]), card["base"]["digest"]
    said = training.pop("warnings", [])
    peak = training.pop("peak_memory", None)
    if tried := step.model.trial_scores():
        training["chosen_from"] = tried
    data = dict(card["data"])
    translation = data.pop("translation", None) or {}
    return Origin(
        model={"name": name, "digest": digest, "id": step.model.id},
        signed={"model": name, "model_digest": digest[:12]},
        options=_options(step),
        training=training,
        data=data,
        translation=translation,
        timings={"train": training["seconds"]} | ({"peak_memory": peak} if peak else {}),
        warnings=said,
    )


def _record(
    step: PredictionStep, split: Split, scores: dict[str, float], cut: Cut, seconds: float, origin: Origin
) -> Record:
    context, data = step.context, step.context.data
    reading = {"test_source": step.test_source} if step.about.reads_source else {}
    return Record(
        run_id=step.id,
        spec_name=context.spec.name,
        method={"name": step.method.name, "kind": step.method.kind, **origin.options, **reading},
        language=step.language,
        seed=step.seed,
        task=task_card(context),
        model=origin.model,
        data={**origin.data, "test": split.digest, "n_test": len(split)},
        translation={
            "to_target": None if step.about.outside else data.translations.identity_to_target(step.language),
            "to_source": dict(data.identity(step.language, step.test_source) or {}) or None,
            **({"measured": measured} if (measured := data.translations.measured(step.language)) else {}),
        },
        scores=scores,
        signature=_signature(step, split, origin.signed),
        counts={**cut, **counts(split.examples), **_left_out(step), **_flagged(step, origin.translation)},
        training=origin.training,  # type: ignore[arg-type]  # the fields of a Training
        timings={"predict": round(seconds, 2), **origin.timings},
        hardware=hardware(),
        versions=versions(),
        predictions=f"{step.predictions.parent.name}/{step.predictions.name}",
        predictions_sha256=digest_file(step.predictions),
        warnings=list(dict.fromkeys([*origin.warnings, *so_far()])),
    )


def _left_out(step: PredictionStep) -> dict[str, int]:
    """Return how many test questions are not scored because they have no answer."""
    count = left_out(step.context.data.set, step.language, step.split)
    return {"unanswerable": count} if count else {}


def _flagged(step: PredictionStep, trained_on: Mapping[str, Any]) -> dict[str, Any]:
    """Return how many translations look wrong, by part and route: in the training rows and in the test rows."""
    found: dict[str, Any] = dict(trained_on)
    if step.split == "test" and (test := step.context.data.translated(step.language, "test", step.test_source).flagged):
        found["test"] = test
    return {"translation": found} if found else {}


def _signature(step: PredictionStep, split: Split, signed: Mapping[str, str]) -> dict[str, Any]:
    context = step.context
    return {
        "task": context.data.set.name,
        "task_version": str(context.data.task.version),
        "split": split.part,
        "language": step.language,
        "n": len(split),
        **signed,
        "source": context.data.made_by(step.language, step.test_source),
        "method": step.method.name,
        "seeds": [step.seed],
        "data": split.digest,
        "version": versions()["crossflare"],
        **({"labels": "met"} if context.data.task.labels else {}),
    }


def _options(step: PredictionStep) -> dict[str, Any]:
    """Return the options of the adapter that a method uses."""
    options: dict[str, Any] = {"of": step.method.of} if step.method.of else {}
    if (trained := step.model.method) is not None:
        options |= {name: getattr(trained, name) for name in sorted(trained.options & ADAPTER_FIELDS)}
        options |= trained.adapter.options
        options |= {} if trained.through is None else {"through": trained.through}
    if step.trained_in:
        options["trained_in"] = step.trained_in
    return options


ADAPTER_FIELDS = frozenset({"train_source", "joint", *SHAPING, *MIXING_OPTIONS})
"""The options of a method that a record contains, besides the training settings."""
