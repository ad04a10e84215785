"""How each step is made: stage 1, stage 2, predictions. Every result is written whole or not at all."""

import json
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model

from crossflare.evaluation.metrics import METRICS, score
from crossflare.evaluation.predict import Outputs, average, predict
from crossflare.evaluation.record import Record, load_predictions, save_record
from crossflare.experiment.context import Context
from crossflare.experiment.data import counts, digest
from crossflare.experiment.environment import hardware, versions
from crossflare.experiment.spec import MethodSpec, Training
from crossflare.experiment.steps import Prediction, Stage1, Stage2, Step, check_ready
from crossflare.files import read_json, write_atomic
from crossflare.fusion.adapter_files import CARD, load_adapter, save_adapter
from crossflare.fusion.config import FlareConfig
from crossflare.fusion.identity import BaseIdentity, head_modules, identify
from crossflare.tasks.example import Split
from crossflare.training.base_models import Base, load_base
from crossflare.training.recipe import Outcome, train
from crossflare.training.settings import Settings


def make(step: Step) -> None:
    """Make one step; those it needs must be done."""
    check_ready(step)
    if isinstance(step, Prediction):
        _predict(step)
    elif isinstance(step, Stage1):
        _stage1(step)
    else:
        _stage2(step)


def _stage1(step: Stage1) -> None:
    base, identity = _base(step.context, step.seed)
    model = _adapted(base.model, _lora(step.training, base.model), step.seed)
    _train_and_save(step, model, base, identity, step.training, step.training.lrs[0], None)


def _stage2(step: Stage2) -> None:
    base, identity = _base(step.context, step.seed)
    merged = load_adapter(base.model, step.stage1.path, base=identity).merge_and_unload()
    model = _adapted(merged, adapter_config(step.method, step.training, merged), step.seed)
    _train_and_save(step, model, base, identity, step.training, step.rate, step.stage1.path)


def _adapted(model: Any, config: LoraConfig, seed: int) -> PeftModel:
    """Add an adapter whose first weights depend on the seed alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return get_peft_model(model, config)


def adapter_config(method: MethodSpec, training: Training, model: Any) -> LoraConfig:
    """Return the configuration of a method's adapter: LoRA, or FLARE with the method's fusion."""
    lora = _lora(training, model)
    if method.kind == "lora":
        return lora
    return FlareConfig(
        task_type="SEQ_CLS",
        r=lora.r,
        lora_alpha=lora.lora_alpha,
        lora_dropout=lora.lora_dropout,
        modules_to_save=lora.modules_to_save,
        fusion=method.fusion,
        alignment=method.alignment,
        lead=method.lead,
        source_dropout=method.source_dropout,
    )


def _lora(training: Training, model: Any) -> LoraConfig:
    from crossflare.fusion.blocks import find_projections

    return LoraConfig(
        task_type="SEQ_CLS",
        r=training.r,
        lora_alpha=training.alpha,
        lora_dropout=training.dropout,
        target_modules=list(find_projections(model)),
        modules_to_save=head_modules(model),
    )


def _train_and_save(
    step: Stage1 | Stage2,
    model: PeftModel,
    base: Base,
    identity: BaseIdentity,
    training: Training,
    lr: float,
    source_task: Path | None,
) -> None:
    context = step.context
    rows, dev = step.splits
    fused = isinstance(step, Stage2) and step.method.kind != "lora"
    settings = _settings(training, lr, step.seed, context)
    # Checkpoints are of this step alone: its id is part of the folder's name.
    folder = context.folder / "checkpoints" / step.id
    outcome = train(model, rows, dev, base.tokenizer, settings, folder, fused, base_digest=identity.digest)
    card: dict[str, Any] = {
        "task": _task(context),
        "source": context.spec.source,
        "language": step.language if isinstance(step, Stage2) else context.spec.source,
        "kind": step.method.kind if isinstance(step, Stage2) else "stage1",
        "model": {"name": context.spec.model.name, "revision": context.spec.model.revision},
        "max_length": training.max_length,
        "seed": step.seed,
        "data": {"train": digest(rows), "dev": digest(dev), "n_train": len(rows), "n_dev": len(dev)},
        "settings": asdict(settings),
        "training": _summary(outcome, lr, model),
    }
    if fused:
        made_by = context.data.identity(step.language, step.method.train_source)  # type: ignore[union-attr]
        card["train_source"] = dict(made_by) if made_by else "original"
    save_adapter(model, step.path, base=identity, source_task=source_task, card=card)
    shutil.rmtree(folder, ignore_errors=True)


def _settings(training: Training, lr: float, seed: int, context: Context) -> Settings:
    return Settings(
        lr=lr,
        epochs=training.epochs,
        batch_size=training.batch_size,
        warmup=training.warmup,
        weight_decay=training.weight_decay,
        max_length=training.max_length,
        seed=seed,
        precision=training.precision,
        evaluations=training.evaluations,
        patience=training.patience,
        metric=context.data.task.main_metric,
    )


def _summary(outcome: Outcome, lr: float, model: PeftModel) -> dict[str, Any]:
    return {
        "lr": lr,
        "dev_score": outcome.best_score,
        "chosen_step": outcome.chosen,
        "steps": outcome.steps,
        "seconds": round(outcome.seconds, 2),
        "precision": outcome.precision,
        "trainable_parameters": model.get_nb_trainable_parameters()[0],
        "curve": [{k: v for k, v in asdict(point).items() if v is not None} for point in outcome.curve],
    }


def _predict(step: Prediction) -> None:
    started = time.monotonic()
    context = step.context
    split = context.data.test(step.language, step.test_source)
    if step.parts:
        outputs = _averaged(step)
    else:
        outputs = _read(step, split)
    _write_predictions(step, split, outputs)
    model = read_json(step.model.path / CARD)
    predicted = outputs.predicted
    gold = [example.label for example in split]
    scores = {name: float(score(name, gold, predicted, len(context.data.task.labels))) for name in METRICS}
    source = "none" if not step.method.about.reads_source else context.data.made_by(step.language, step.test_source)
    signature = {
        "task": context.data.set.name,
        "task_version": str(context.data.task.version),
        "split": "test",
        "language": step.language,
        "n": len(split),
        "model": context.spec.model.name,
        "model_digest": model["base"]["digest"][:12],
        "source": source,
        "method": step.method.name,
        "seeds": [step.seed],
        "data": split.digest,
        "version": versions()["crossflare"],
    }
    own = step.model if isinstance(step.model, Stage2) else None
    identities = {
        "to_target": None
        if context.spec.translation.to_target.engine == "parallel"
        else context.data.engine_identity("to_target", step.language),
        "to_source": dict(context.data.identity(step.language, step.test_source) or {}) or None,
    }
    training = model["training"] if own or isinstance(step.model, Stage1) else {}
    if own is not None and own.trials:
        training = {**training, "chosen_from": own.trial_scores()}
    record = Record(
        run_id=step.id,
        spec_name=context.spec.name,
        method={"name": step.method.name, **_options(step, own)},
        language=step.language,
        seed=step.seed,
        task=_task(context),
        model={"name": context.spec.model.name, "digest": model["base"]["digest"], "id": step.model.id},
        data={**model["data"], "test": split.digest, "n_test": len(split)},
        translation=identities,
        scores=scores,
        signature=signature,
        counts={"truncated": outputs.truncated, **counts(split.examples)},
        training=training,
        timings={"predict": round(time.monotonic() - started, 2), "train": model["training"]["seconds"]},
        hardware=hardware(),
        versions=versions(),
        predictions=f"predictions/{step.id}.jsonl",
    )
    save_record(step.record, record)


def _options(step: Prediction, own: Stage2 | None) -> dict[str, Any]:
    """Return what says how the method differs: its kind, and the options of the adapter it reads."""
    method = step.method
    options: dict[str, Any] = {"kind": method.kind}
    if method.of:
        options["of"] = method.of
    trained = own.method if own else method
    for name in ("train_source", "fusion", "alignment", "lead", "source_dropout"):
        if own is not None and trained.kind != "lora":
            options[name] = getattr(trained, name)
    if method.about.reads_source:
        options["test_source"] = method.test_source
    return options


def _read(step: Prediction, split: Split) -> Outputs:
    """Load the step's model and let it read the test rows."""
    context = step.context
    base, identity = _base(context, step.seed)
    model = load_adapter(base.model, step.model.path, base=identity)
    kind = step.method.kind
    read = "source" if kind == "translate-test" else "both" if kind == "flare" else "target"
    return predict(
        model,
        base.tokenizer,
        split.examples,
        read=read,
        max_length=context.spec.stage2.max_length,
        precision=context.spec.stage2.precision,
    )


def _averaged(step: Prediction) -> Outputs:
    """Average the log-probabilities of two predictions, or of one and the base model's own for the source."""
    parts = [load_predictions(part.predictions).log_probabilities for part in step.parts]
    if step.method.kind == "flare+source":
        parts.append(_source_log_probabilities(step.parts[0].predictions))
    truncated = [read_json(part.record)["counts"]["truncated"] for part in step.parts]
    most = {side: max(each.get(side, 0) for each in truncated) for side in ("target", "source")}
    return Outputs(average(*parts), None, most)


def _source_log_probabilities(path: Path) -> Any:
    import numpy as np

    rows = [json.loads(line)["source_log_probabilities"] for line in path.read_text(encoding="utf-8").splitlines()]
    labels = max(len(row) for row in rows if row is not None)
    return np.array([row if row is not None else [float("nan")] * labels for row in rows])


def _write_predictions(step: Prediction, split: Split, outputs: Outputs) -> None:
    lines: list[str] = []
    for number, (example, guess) in enumerate(zip(split, outputs.predicted, strict=True)):
        row: dict[str, Any] = {
            "id": example.id,
            "gold": example.label,
            "prediction": int(guess),
            "correct": int(guess == example.label),
            "log_probabilities": [round(float(value), 6) for value in outputs.log_probabilities[number]],
        }
        if outputs.source is not None:
            own = outputs.source[number]
            row["source_log_probabilities"] = None if own[0] != own[0] else [round(float(v), 6) for v in own]
        lines.append(json.dumps(row) + "\n")
    write_atomic(step.predictions, "".join(lines))


def _task(context: Context) -> dict[str, Any]:
    task = context.data.task
    return {
        "name": context.data.set.name,
        "version": task.version,
        "labels": list(task.labels),
        "texts": task.text_count,
        "main_metric": task.main_metric,
    }


def _base(context: Context, seed: int) -> tuple[Base, BaseIdentity]:
    model = context.spec.model
    base = load_base(model.name, context.data.task.labels, revision=model.revision, seed=seed)
    return base, identify(base.model, base.name)


