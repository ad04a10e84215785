"""Steps that are made in no time: files that look like a model's card, a record and its predictions."""

import json
from collections.abc import Callable
from typing import Any

from crossflare.disk.files import CARD, digest_file, write_atomic, write_json
from crossflare.evaluation.record import Record, save_record
from crossflare.experiment.steps.prediction import PredictionStep
from crossflare.experiment.steps.step import check_ready


class FakeMake:
    """Stands in for `crossflare.experiment.making.make.make`, and remembers what it made."""

    def __init__(self, fails: Callable[[Any], Exception | None] = lambda step: None) -> None:
        self.made: list[str] = []
        self.fails = fails

    def __call__(self, step: Any) -> None:
        check_ready(step)
        self.made.append(f"{step.kind} {step.label}")
        if (error := self.fails(step)) is not None:
            raise error
        if isinstance(step, PredictionStep):
            save_prediction(step)
            return
        model, kind = step.context.spec.model.name, getattr(step, "method", None)
        write_json(
            step.path / CARD,
            {
                "kind": "stage1" if kind is None else kind.kind,
                "model": {"name": model},
                "max_length": step.training.max_length,
                "training": {"dev_score": 0.5, "seconds": 6.0, "steps": 3},
            },
        )


def save_prediction(step: PredictionStep) -> None:
    """Write a record that can be read, and a line of predictions."""
    write_atomic(step.predictions, json.dumps({"id": "0", "gold": 0, "prediction": 0}) + "\n")
    record = Record(
        run_id=step.id,
        spec_name=step.context.spec.name,
        method={"name": step.method.name, "kind": step.method.kind},
        language=step.language,
        seed=step.seed,
        task={"name": "tiny", "version": "1", "labels": ["bad", "good"]},
        scores={},
        signature={},
        model={"name": step.context.spec.model.name, "id": step.model.id},
        data={"n_test": 7},
        timings={"predict": 14.0},
        predictions=f"predictions/{step.predictions.name}",
        predictions_sha256=digest_file(step.predictions),
    )
    save_record(step.record, record)
