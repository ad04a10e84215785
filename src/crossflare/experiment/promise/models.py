"""Whether a recipe's base model can do what every method asks of it: tried on the model without its weights."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from peft import get_peft_model

from crossflare.errors import UserError
from crossflare.experiment.making.building import adapter_config, form_of, lora_config, mixing_of, task_type_of
from crossflare.experiment.steps.context import Context
from crossflare.files import content_id
from crossflare.recipe.engines import model_place
from crossflare.recipe.kinds import KINDS, Kind
from crossflare.recipe.methods import MethodSpec
from crossflare.recipe.spec import Training
from crossflare.tasks.example import Answer, Example
from crossflare.training.bases.empty import empty_base
from crossflare.training.forms.make import prepare
from crossflare.training.loop.batching import check_groups
from crossflare.training.train import check_length

MT_DIM = 16
"""A translation encoder's size, where the real one is not known: nothing here depends on it."""


def check_models(contexts: Sequence[Context], *, fetch: bool) -> Iterator[tuple[Context, str]]:
    """Yield what is wrong with the model of each recipe; what recipes agree on is looked at once.

    Args:
        contexts: The recipes.
        fetch: See `empty_base`.
    """
    seen: dict[str, str | None] = {}
    for context in contexts:
        for method in (None, *context.spec.methods):
            if method is not None and (method.of or not (method.about.trains or method.about.reads == "source")):
                continue
            key = _key(context, method)
            if key not in seen:
                try:
                    seen[key] = _try(context, method, fetch)
                except UserError as error:
                    seen[key] = str(error)
            if (said := seen[key]) is not None:
                yield context, said


def _key(context: Context, method: MethodSpec | None) -> str:
    spec = context.spec
    training = spec.stage1 if method is None else spec.training(method)
    own = None if method is None else {name: value for name, value in asdict(method).items() if name != "name"}
    task = [context.data.task.labels, spec.task.form, spec.task.words, spec.task.asks, context.data.task.text_count]
    return content_id([asdict(spec.model), task, asdict(training), own])


def _try(context: Context, method: MethodSpec | None, fetch: bool) -> None:
    """Put adapter and form on an empty model as the run will; stage 1 where there is no method."""
    model_spec, task = context.spec.model, context.data.task
    found = empty_base(
        model_place(model_spec.name),
        task,
        context.spec.task.form,
        revision=model_spec.revision,
        quantise=model_spec.quantise,
        fetch=fetch,
    )
    if found is None:
        return
    model, tokenizer = found
    about = KINDS["zero-shot"] if method is None else method.about
    training = context.spec.stage1 if method is None else context.spec.training(method)
    model = prepare(model, about.mixes, {} if method is None else mixing_of(method))
    if method is None:
        get_peft_model(model, lora_config(training, model, task_type_of(context, model)))
    elif about.trains:
        size = MT_DIM if about.reads == "latents" else None
        get_peft_model(model, adapter_config(method, training, model, task_type_of(context, model), size))
        group = len(context.spec.languages(method)) if method.joint else 1
        check_groups(group, training.batch_size, group, 1)
    _check_form(context, training, model, tokenizer, about, "none" if method is None else method.training_source)


def _check_form(context: Context, training: Training, model: Any, tokenizer: Any, about: Kind, source: str) -> None:
    """Let the form of the task read a row: it says what tokenizer and lengths cannot do."""
    form = form_of(context, training, model, tokenizer, about, source)
    check_length(model, tokenizer, form.longest)
    texts = ("a", "a")[: context.data.task.text_count]
    answers = (Answer("a", 0),) if context.spec.task.asks else ()
    label = None if context.spec.task.asks else 0
    form.encode([Example("0", texts, label, texts if about.reads == "both" else None, "the model", answers)])
