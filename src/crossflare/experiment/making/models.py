"""How models are made: stage 1 on the source language, stage 2 on top of it; each is saved complete or not at all."""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model

from crossflare import devices
from crossflare.disk.files import clear_unfinished
from crossflare.evaluation.calibration import fit_calibration
from crossflare.evaluation.scoring import predict, scoring
from crossflare.experiment.data.checks import one_label
from crossflare.experiment.data.controls import digest, joined_tag
from crossflare.experiment.making.building import (
    adapter_config,
    form_of,
    load_base_of,
    lora_config,
    mixing_of,
    model_card,
    set_card,
    task_card,
    task_type_of,
)
from crossflare.experiment.steps.context import Context
from crossflare.experiment.steps.models import Stage1, Stage2
from crossflare.fusion.saved.adapter_files import load_adapter, save_adapter
from crossflare.fusion.saved.tensor_files import MODEL, save_tensors
from crossflare.libraries.heard import so_far
from crossflare.recipe.spec import Training
from crossflare.tasks.example import Split
from crossflare.training.bases.load import Base
from crossflare.training.forms.make import prepare
from crossflare.training.forms.protocol import Choices, Form, Outputs
from crossflare.training.loop import distributed
from crossflare.training.loop.checkpoints import trained as trained_of
from crossflare.training.loop.fit import Outcome
from crossflare.training.loop.memory import peak_memory
from crossflare.training.loop.settings import Settings
from crossflare.training.loop.state import Point
from crossflare.training.text.encoded import Latents
from crossflare.training.train import Measure, train


def make_stage1(step: Stage1) -> None:
    """Train LoRA and head on the labelled rows of the source language."""
    base = load_base_of(step.context, step.seed)
    config = lora_config(step.training, base.model, task_type_of(step.context, base.model))
    model = _adapted(base.model, config, step.seed)
    if step.training.trains:
        _train_and_save(step, model, base, step.training.lrs[0], {"kind": "stage1"})
    else:
        _save_as_it_is(step, model, base)


def _save_as_it_is(step: Stage1, model: PeftModel, base: Base) -> None:
    """Save the unchanged base as a stage 1: an adapter that adds nothing, with the base's own head or a new one."""
    if not distributed.is_main():
        return
    nothing = Outcome(None, 0, 0, (), 0.0, None, "fp32")
    settings = _settings(replace(step.training, epochs=1), step.training.lrs[0], step.seed, 1)
    card = card_of(step, asdict(settings), {"kind": "stage1"}, {}, _summary(nothing, 0.0, model))
    clear_unfinished(step.path)
    save_adapter(model, step.path, base=base.identity, card=card)


def make_stage2(step: Stage2) -> None:
    """Train a method's adapter and head on the rows of a target language, on top of stage 1."""
    quantised = step.context.spec.model.quantise != "none"
    base = load_base_of(step.context, step.seed, step.start.path if quantised else None)
    merged = base.model
    if not quantised:
        merged = load_adapter(merged, step.start.path, base=base.identity).merge_and_unload()
    merged = prepare(merged, step.method.about.mixes, mixing_of(step.method), asks=step.context.spec.task.asks)
    mt_dim = step.context.mt_dim(step.method, step.languages[0])
    config = adapter_config(step.method, step.training, merged, task_type_of(step.context, merged), mt_dim)
    model = _adapted(merged, config, step.seed)
    _train_and_save(step, model, base, step.rate, about_of(step), source_task=step.start.path)


def make_full(step: Stage2) -> None:
    """Train all weights of the base and its head on the rows of a target language, on top of stage 1."""
    base = load_base_of(step.context, step.seed)
    model: Any = load_adapter(base.model, step.start.path, base=base.identity).merge_and_unload()
    _train_and_save(step, model.requires_grad_(True), base, step.rate, about_of(step))


def _adapted(model: Any, config: LoraConfig, seed: int) -> PeftModel:
    """Add an adapter whose initial weights depend on the seed alone."""
    with devices.seeded(seed):
        return get_peft_model(model, config)


def _train_and_save(
    step: Stage1 | Stage2,
    model: Any,
    base: Base,
    lr: float,
    about: dict[str, Any],
    source_task: Path | None = None,
) -> None:
    context, training = step.context, step.training
    rows, dev = distributed.main_first(lambda: step.splits)
    group = len(step.languages)
    settings = _settings(training, lr, step.seed, group)
    # The checkpoints belong to this step alone: its id is the folder's name.
    folder = context.shared / "checkpoints" / step.id
    encode = context.data.translations.latents
    latents = distributed.main_first(lambda: (encode(rows), encode(dev))) if step.reads == "latents" else None
    form = form_of(context, training, model, base.tokenizer, step.about, step.reads, step.seed)
    with peak_memory() as peak:
        outcome = train(
            model,
            rows,
            dev,
            base.tokenizer,
            form,
            settings,
            folder,
            measure=measure_of(context, step.languages),
            identity={"reads": step.reads, "task": task_card(context)},
            latents=latents,
            base_digest=base.identity.digest,
            group=group,
        )
        memory = peak()
    if not distributed.is_main():
        return
    trained = _summary(outcome, lr, model) | ({} if memory is None else {"peak_memory": memory})
    card = card_of(step, asdict(settings), about, data_card(step, rows, dev), trained)
    if form.labels:
        said = _read_dev(model, form, dev, settings, latents and latents[1])
        card["calibration"] = fitted_calibrations(said, dev, step.languages)
    clear_unfinished(step.path)  # this process holds the step's lock
    if isinstance(model, PeftModel):
        save_adapter(model, step.path, base=base.identity, source_task=source_task, card=card)
    else:
        settings_of_model = model.config.to_json_string(use_diff=False)
        save_tensors(trained_of(model), step.path, MODEL, base=base.identity, card=card, settings=settings_of_model)
    shutil.rmtree(folder, ignore_errors=True)


def _read_dev(model: Any, form: Form, dev: Split, settings: Settings, latents: Latents | None) -> Choices:
    """Return a trained model's choices for the dev rows."""
    said = predict(
        model,
        form,
        dev.examples,
        read="target",
        latents=latents,
        batch_size=2 * settings.batch_size,
        precision=settings.precision,
    )
    assert isinstance(said, Choices), "a form with labels gives choices"
    return said


def fitted_calibrations(said: Choices, dev: Split, languages: Sequence[str]) -> dict[str, Any]:
    """Return each language's calibration, fitted on its dev rows; the rows of the languages take turns."""
    gold = [-1 if example.label is None else example.label for example in dev]
    turns = {language: slice(place, None, len(languages)) for place, language in enumerate(languages)}
    return {
        language: asdict(fit_calibration(said.take(turn).log_probabilities, gold[turn]))
        for language, turn in turns.items()
    }


def about_of(step: Stage2) -> dict[str, Any]:
    """Return a card's description of a method and of the engines behind its training rows."""
    about: dict[str, Any] = {"kind": step.method.kind, "train_source": step.made_by or step.reads}
    if step.method.through is not None:
        about["through"] = step.method.through
    if mixing := mixing_of(step.method):
        about["mixing"] = mixing
    if step.reads.startswith("mixed("):
        about["mixed"] = step.reads
    if (translated := step.translated_by) is not None:
        about["to_target"] = translated
    return about


def data_card(step: Stage1 | Stage2, rows: Split, dev: Split) -> dict[str, Any]:
    """Return a card's description of the rows that a model learnt from."""
    data: dict[str, Any] = {"train": digest(rows), "dev": digest(dev), "n_train": len(rows), "n_dev": len(dev)}
    data["set"] = set_card(step.context)
    return data | _one_label(step.context, rows, dev) | step.translation_counts()


def card_of(
    step: Stage1 | Stage2,
    settings: dict[str, Any],
    about: dict[str, Any],
    data: dict[str, Any],
    trained: dict[str, Any],
) -> dict[str, Any]:
    """Return the card that is saved with a model."""
    context = step.context
    return {
        **about,
        "task": task_card(context),
        "source": context.spec.source,
        "language": joined_tag(step.languages),
        "reads": step.about.reads if isinstance(step, Stage2) else "target",
        "model": model_card(context),
        **{name: getattr(step.training, name) for name in ("max_length", "stride", "answer_tokens")},
        "seed": step.seed,
        "data": data,
        "settings": settings,
        "training": trained | ({"warnings": said} if (said := so_far()) else {}),
    }


def _one_label(context: Context, *splits: Split) -> dict[str, Any]:
    """Return the label of each part that has only one; the report mentions it."""
    found = {split.part: only for split in splits if (only := one_label(split, context.data.task.labels))}
    return {"one_label": found} if found else {}


def measure_of(context: Context, languages: Sequence[str]) -> Measure:
    """Return the measure on dev rows: the main metric, averaged over the languages, whose rows take turns."""
    task = context.data.task

    def measure(outputs: Outputs, split: Split) -> float:
        turns = {each: slice(place, None, len(languages)) for place, each in enumerate(languages)}
        scores = [scoring(task, each).scores(split.examples[turn], outputs.take(turn)) for each, turn in turns.items()]
        return sum(each[task.main_metric] for each in scores) / len(scores)

    return measure


def _settings(training: Training, lr: float, seed: int, group: int) -> Settings:
    """Return a model's training settings; a joint adapter's batch has as many whole items as fit, at least one."""
    shared = (
        "epochs",
        "batch_size",
        "accumulation",
        "activation_checkpointing",
        "warmup",
        "weight_decay",
        "max_length",
    )
    shared += ("balance", "precision", "evaluations", "patience")
    own = {name: getattr(training, name) for name in shared}
    own["batch_size"] = max(1, training.batch_size // group) * group
    return Settings(lr=lr, seed=seed, **own)


def _point(point: Point) -> dict[str, float]:
    """Return one point of the learning curve in the form of records."""
    values = {"step": point.step, "loss": point.loss, "dev_score": point.score}
    return {name: value for name, value in values.items() if value is not None}


def _summary(outcome: Outcome, lr: float, model: Any) -> dict[str, Any]:
    return {
        "lr": lr,
        "dev_score": outcome.best_score,
        "chosen_step": outcome.chosen,
        "steps": outcome.steps,
        "seconds": round(outcome.seconds, 2),
        "precision": outcome.precision,
        "trainable_parameters": sum(each.numel() for each in trained_of(model).values()),
        "curve": [_point(point) for point in outcome.curve],
    }
