"""How models are made: stage 1 on the source language, stage 2 on top of it; both are saved whole or not at all."""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model

from crossflare.evaluation.outputs import outputs_of
from crossflare.evaluation.scoring import scoring
from crossflare.experiment.context import Context
from crossflare.experiment.data import digest
from crossflare.experiment.engines import model_place
from crossflare.experiment.kinds import is_translated
from crossflare.experiment.spec import MethodSpec, Training
from crossflare.experiment.stages import Stage1, Stage2
from crossflare.files import clear_unfinished
from crossflare.fusion.adapter_files import SOURCE_TASK, load_adapter, save_adapter
from crossflare.fusion.blocks import find_projections
from crossflare.fusion.config import FlareConfig
from crossflare.fusion.identity import head_modules
from crossflare.tasks.questions import QuestionTask
from crossflare.training.base_models import Base, load_base
from crossflare.training.fit import Outcome
from crossflare.training.forms import Form, form_name, make_form
from crossflare.training.progress_state import Point
from crossflare.training.recipe import Measure, train
from crossflare.training.settings import Settings


def make_stage1(step: Stage1) -> None:
    """Train LoRA and head on the labelled rows of the source language."""
    base = load_base_of(step.context, step.seed)
    config = lora_config(step.training, base.model, task_type_of(step.context, base.model))
    model = _adapted(base.model, config, step.seed)
    _train_and_save(step, model, base, step.training.lrs[0], {"kind": "stage1"})


def make_stage2(step: Stage2) -> None:
    """Train a method's adapter and head on the rows of a target language, on top of stage 1."""
    quantised = step.context.spec.model.quantise != "none"
    base = load_base_of(step.context, step.seed, step.stage1.path if quantised else None)
    merged = base.model
    if not quantised:
        merged = load_adapter(merged, step.stage1.path, base=base.identity).merge_and_unload()
    mt_dim = step.context.mt_dim(step.method, step.language)
    config = adapter_config(step.method, step.training, merged, task_type_of(step.context, merged), mt_dim)
    model = _adapted(merged, config, step.seed)
    made_by = step.context.data.identity(step.language, step.reads)
    about: dict[str, Any] = {"kind": step.method.kind, "train_source": dict(made_by) if made_by else step.reads}
    if step.reads.startswith("mixed("):
        about["mixed"] = step.reads
    if (translated := step.context.data.identity_to_target(step.language)) is not None:
        about["to_target"] = translated
    _train_and_save(step, model, base, step.rate, about, source_task=step.stage1.path)


def load_base_of(context: Context, seed: int, merge: Path | None = None) -> Base:
    """Load the recipe's base model, with the head that the seed gives; `merge` a stage 1 before it is quantised."""
    model, task = context.spec.model, context.spec.task
    return load_base(
        model_place(model.name),
        context.data.task,
        task.form,
        revision=model.revision,
        seed=seed,
        called=model.name,
        quantise=model.quantise,
        merge=merge,
    )


def load_trained(context: Context, seed: int, adapter: Path) -> tuple[PeftModel, Any]:
    """Return the recipe's base model with a trained adapter on it, and its tokenizer."""
    task = adapter / SOURCE_TASK
    first = task if context.spec.model.quantise != "none" and task.is_dir() else None
    base = load_base_of(context, seed, first)
    return load_adapter(base.model, adapter, base=base.identity, merged=first is not None), base.tokenizer


def form_of(context: Context, training: Training, model: Any, tokenizer: Any, *, with_source: bool) -> Form:
    """Return how the recipe puts its task to a model."""
    return make_form(
        context.data.task,
        context.spec.task.form,
        model,
        tokenizer,
        training.max_length,
        with_source=with_source,
        stride=training.stride,
        answer_tokens=training.answer_tokens,
        words=context.spec.task.words,
    )


def adapter_config(
    method: MethodSpec, training: Training, model: Any, task_type: str, mt_dim: int | None = None
) -> LoraConfig:
    """Return the configuration of a method's adapter: LoRA, or FLARE with the method's fusion."""
    lora = lora_config(training, model, task_type)
    if method.kind == "lora":
        return lora
    return FlareConfig(
        task_type=lora.task_type,
        r=lora.r,
        lora_alpha=lora.lora_alpha,
        lora_dropout=lora.lora_dropout,
        target_modules=lora.target_modules,
        modules_to_save=lora.modules_to_save,
        fusion=method.fusion,
        alignment=method.alignment,
        lead=method.lead,
        source_dropout=method.source_dropout,
        source_norm=method.source_norm,
        mt_dim=mt_dim,
    )


def lora_config(training: Training, model: Any, task_type: str) -> LoraConfig:
    """Return plain LoRA on the query and value projections, or on all, with a new head trained whole."""
    return LoraConfig(
        task_type=task_type,
        r=training.r,
        lora_alpha=training.alpha,
        lora_dropout=training.dropout,
        target_modules="all-linear" if training.modules == "all" else list(find_projections(model)),
        modules_to_save=head_modules(model) or None,
    )


def task_type_of(context: Context, model: Any) -> str:
    """Return peft's name for the recipe's form of the task."""
    form = form_name(context.data.task, context.spec.task.form)
    written = "SEQ_2_SEQ_LM" if model.config.is_encoder_decoder else "CAUSAL_LM"
    return {"labels": "SEQ_CLS", "span": "QUESTION_ANS"}.get(form, written)


def task_card(context: Context) -> dict[str, Any]:
    """Return what a saved adapter or a record says of the task."""
    task = context.data.task
    return {
        "name": context.data.set.name,
        "version": task.version,
        "labels": list(task.labels),
        "texts": task.text_count,
        "form": context.spec.task.form,
        **({"words": context.spec.task.words} if context.spec.task.words else {}),
        **({"normalisation": task.normalisation} if isinstance(task, QuestionTask) else {}),
        "main_metric": task.main_metric,
    }


def _adapted(model: Any, config: LoraConfig, seed: int) -> PeftModel:
    """Add an adapter whose first weights depend on the seed alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return get_peft_model(model, config)


def _train_and_save(
    step: Stage1 | Stage2,
    model: PeftModel,
    base: Base,
    lr: float,
    about: dict[str, Any],
    source_task: Path | None = None,
) -> None:
    context, training = step.context, step.training
    rows, dev = step.splits
    settings = _settings(training, lr, step.seed, context)
    # Checkpoints are of this step alone: its id is the folder's name.
    folder = context.shared / "checkpoints" / step.id
    with_source = step.reads == "original" or is_translated(step.reads)
    outcome = train(
        model,
        rows,
        dev,
        base.tokenizer,
        form_of(context, training, model, base.tokenizer, with_source=with_source),
        settings,
        folder,
        measure=_measure(context, rows.language),
        identity={"reads": step.reads, "task": task_card(context)},
        latents=(context.data.latents(rows), context.data.latents(dev)) if step.reads == "latents" else None,
        base_digest=base.identity.digest,
    )
    card: dict[str, Any] = {
        **about,
        "task": task_card(context),
        "source": context.spec.source,
        "language": rows.language,
        "model": asdict(context.spec.model),
        **{name: getattr(training, name) for name in ("max_length", "stride", "answer_tokens")},
        "seed": step.seed,
        "data": {"train": digest(rows), "dev": digest(dev), "n_train": len(rows), "n_dev": len(dev)}
        | _lost(step)
        | _flagged(step),
        "settings": asdict(settings),
        "training": _summary(outcome, lr, model),
    }
    clear_unfinished(step.path)  # the step's lock is ours
    save_adapter(model, step.path, base=base.identity, source_task=source_task, card=card)
    shutil.rmtree(folder, ignore_errors=True)


def _lost(step: Stage1 | Stage2) -> dict[str, Any]:
    """Return how many translated training questions lost their answer, and how those of the others were found."""
    lost = step.context.data.yields.get((step.splits[0].language, "train"))
    return {} if lost is None else {"projection": asdict(lost)}


def _flagged(step: Stage1 | Stage2) -> dict[str, Any]:
    """Return how many of the translations that are trained on look wrong, by part and route."""
    if isinstance(step, Stage1):
        return {}
    data, language = step.context.data, step.language
    found = {part: counts for part in ("train", "dev") if (counts := data.quality_of(language, part, step.reads))}
    return {"translation": found} if found else {}


def _measure(context: Context, language: str) -> Measure:
    task = context.data.task
    scored = scoring(task, language)
    return lambda said, split: scored.scores(split.examples, outputs_of(said, {}))[task.main_metric]


def _settings(training: Training, lr: float, seed: int, context: Context) -> Settings:
    shared = ("epochs", "batch_size", "warmup", "weight_decay", "max_length", "precision", "evaluations", "patience")
    own = {name: getattr(training, name) for name in shared}
    return Settings(lr=lr, seed=seed, **own)


def _point(point: Point) -> dict[str, float]:
    """Return one point of the learning curve as records have it."""
    values = {"step": point.step, "loss": point.loss, "dev_score": point.score}
    return {name: value for name, value in values.items() if value is not None}


def _summary(outcome: Outcome, lr: float, model: PeftModel) -> dict[str, Any]:
    return {
        "lr": lr,
        "dev_score": outcome.best_score,
        "chosen_step": outcome.chosen,
        "steps": outcome.steps,
        "seconds": round(outcome.seconds, 2),
        "precision": outcome.precision,
        "trainable_parameters": model.get_nb_trainable_parameters()[0],
        "curve": [_point(point) for point in outcome.curve],
    }
