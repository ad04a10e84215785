"""The parts of an experiment's models: the base, an adapter's configuration, the form of the task."""

import os
import platform
from dataclasses import asdict
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from peft import LoraConfig

from crossflare import devices
from crossflare.experiment.steps.context import Context
from crossflare.experiment.steps.models import MIXING_OPTIONS
from crossflare.fusion.blocks import find_projections
from crossflare.fusion.config import FlareConfig
from crossflare.fusion.identity import head_modules
from crossflare.recipe.engines import model_place
from crossflare.recipe.kinds import Kind
from crossflare.recipe.methods import SHAPING, MethodSpec
from crossflare.recipe.spec import Training
from crossflare.recipe.translation import annealing
from crossflare.tasks.hub import HUB_NAME, open_repository
from crossflare.tasks.kinds import QuestionTask
from crossflare.tasks.sets import KNOWN_SETS
from crossflare.training.bases.load import Base, load_base
from crossflare.training.bases.packaged import BASES
from crossflare.training.forms.joining import Annealing
from crossflare.training.forms.make import form_name, make_form
from crossflare.training.forms.protocol import Form
from crossflare.translation.engines.model_files import revision_of, stated_licence

LIBRARIES = ("crossflare", "torch", "transformers", "peft", "tokenizers", "safetensors", "numpy")


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that results depend on."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found


def hardware() -> dict[str, Any]:
    """Return the processor, the number of cores, the threads in use, and the accelerator's name, if any."""
    import torch

    device = devices.best_device()
    return {
        "machine": platform.machine(),
        "system": platform.system(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "accelerator": None if device.type == "cpu" else devices.name_of(device),
    }


def load_base_of(context: Context, seed: int, merge: Path | None = None) -> Base:
    """Load the recipe's base model with a head by the seed; merge the stage 1 `merge` before it is quantised."""
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


def mixing_of(method: MethodSpec) -> dict[str, int | None]:
    """Return the options that say where a method mixes, as a card keeps them."""
    return {name: getattr(method, name) for name in MIXING_OPTIONS if name in method.about.options}


def form_of(
    context: Context, training: Training, model: Any, tokenizer: Any, about: Kind, source: str, seed: int = 0
) -> Form:
    """Return the form in which the recipe gives its task to a model.

    Args:
        context: The recipe.
        training: The settings for the length of texts.
        model: The model.
        tokenizer: Its tokenizer.
        about: The kind of method; the form reads a source only if the kind does and `source` is not `none`.
        source: The source that is read, or `none`.
        seed: The seed of the training run, for sources that are drawn again at each step.
    """
    k = annealing(source)
    return make_form(
        context.data.task,
        context.spec.task.form,
        model,
        tokenizer,
        training.max_length,
        with_source=about.reads == "both" and source != "none",
        joined=about.joins,
        mixes=about.mixes if about.reads == "both" else "none",
        padded=about.padded,
        annealing=None if k is None else Annealing(k, seed),
        long=context.spec.task.long,
        stride=training.stride,
        answer_tokens=training.answer_tokens,
        words=context.spec.task.words,
    )


def adapter_config(
    method: MethodSpec, training: Training, model: Any, task_type: str, mt_dim: int | None = None
) -> LoraConfig:
    """Return the configuration of a method's adapter: LoRA, or FLARE with the method's fusion."""
    lora = lora_config(training, model, task_type)
    if not method.about.fuses:
        return lora
    return FlareConfig(
        task_type=lora.task_type,
        r=lora.r,
        lora_alpha=lora.lora_alpha,
        lora_dropout=lora.lora_dropout,
        target_modules=lora.target_modules,
        modules_to_save=lora.modules_to_save,
        **{name: getattr(method, name) for name in SHAPING},
        **method.adapter.options,
        released=method.kind == "flare-released",
        mt_dim=mt_dim,
    )


def lora_config(training: Training, model: Any, task_type: str) -> LoraConfig:
    """Return plain LoRA on the query and value projections, or on all linear layers; a head is trained in full."""
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


def model_card(context: Context) -> dict[str, Any]:
    """Return the description of the base for a saved adapter, with its commit and its licence where they are known."""
    model = context.spec.model
    if (known := BASES.get(model.name)) is not None:
        return asdict(model) | {"hub": known.hub, "licence": known.licence}
    place = model_place(model.name)
    said: dict[str, Any] = {"licence": stated_licence(place, model.revision)}
    if HUB_NAME.fullmatch(place) and not Path(place).exists():
        said["commit"] = revision_of(place, model.revision)
    return asdict(model) | {name: value for name, value in said.items() if value}


def set_card(context: Context) -> dict[str, Any]:
    """Return the description of the data for a saved adapter: a name, and where it is known the place and licence."""
    task = context.spec.task
    if task.set is not None:
        known = KNOWN_SETS[task.set]
        hub = known.release.hub if known.release is not None and task.folder is None else None
        place = {} if hub is None else {"hub": hub.repository, "revision": hub.revision}
        return {"name": known.title, "licence": known.licence, **place}
    if task.hub is None:
        return {"name": "own files"}
    licence = open_repository(task.hub, task.revision).card.get("license")
    said = {
        "licence": ", ".join(map(str, licence)) if isinstance(licence, list) else licence,
        "revision": task.revision,
    }
    place = {"hub": task.hub} if HUB_NAME.fullmatch(task.hub) else {}
    return {"name": Path(task.hub).name, **place} | {name: value for name, value in said.items() if value}


def task_card(context: Context) -> dict[str, Any]:
    """Return the description of the task for a saved adapter or a record."""
    task = context.data.task
    return {
        "name": context.data.set.name,
        "version": task.version,
        "labels": list(task.labels),
        "texts": task.text_count,
        "form": context.spec.task.form,
        **({"words": context.spec.task.words} if context.spec.task.words else {}),
        **({} if context.spec.task.long == "cut" else {"long": context.spec.task.long}),
        **({"normalisation": task.normalisation} if isinstance(task, QuestionTask) else {}),
        "main_metric": task.main_metric,
    }
