"""The trial of a recipe's adapter and form on its base model without weights, in the same way as in the run."""

from typing import Any

from peft import get_peft_model

from crossflare.errors import UserError
from crossflare.experiment.making.building import adapter_config, form_of, lora_config, mixing_of, task_type_of
from crossflare.experiment.steps.context import Context
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
"""A size for the translation encoder when the real one is not known: nothing here depends on it."""


def try_model(context: Context, method: MethodSpec | None, *, fetch: bool) -> None:
    """Put adapter and form on an empty model as the run will.

    Args:
        context: The recipe.
        method: One of its methods; None: stage 1.
        fetch: See `empty_base`.

    Raises:
        UserError: The run would refuse the model, or what is put on it.
    """
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
    if method is not None and not context.spec.stage1.trains:
        _check_reader(context, method, model)
    about = KINDS["zero-shot"] if method is None else method.about
    training = context.spec.stage1 if method is None else context.spec.training(method)
    model = prepare(model, about.mixes, {} if method is None else mixing_of(method), asks=context.spec.task.asks)
    if method is None:
        get_peft_model(model, lora_config(training, model, task_type_of(context, model)))
    elif about.trains and about.learns == "adapter":
        size = MT_DIM if about.reads == "latents" else None
        get_peft_model(model, adapter_config(method, training, model, task_type_of(context, model), size))
        group = len(context.spec.languages(method)) if method.joint else 1
        check_groups(group, training.batch_size, group, 1)
    _check_form(context, training, model, tokenizer, about, "none" if method is None else method.training_source)


def _check_reader(context: Context, method: MethodSpec, model: Any) -> None:
    """Refuse a method that reads with stage 1 if stage 1 is left out and the model has not learnt the task before."""
    heads = ("ForSequenceClassification", "ForQuestionAnswering")
    own_head = any(str(name).endswith(heads) for name in model.config.architectures or ())
    if method.about.reads_with_stage1 and context.spec.task.form == "head" and not own_head:
        raise UserError(
            f"{method.name} reads with the model of stage 1, which is left out, and {context.spec.model.name} has no "
            f"trained head of its own; take {method.name} out, or train stage 1"
        )


def _check_form(context: Context, training: Training, model: Any, tokenizer: Any, about: Kind, source: str) -> None:
    """Let the form of the task read a row: it raises an error if tokenizer or lengths do not suit."""
    form = form_of(context, training, model, tokenizer, about, source)
    check_length(model, tokenizer, form.longest)
    texts = ("a", "a")[: context.data.task.text_count]
    answers = (Answer("a", 0),) if context.spec.task.asks else ()
    label = None if context.spec.task.asks else 0
    form.encode([Example("0", texts, label, texts if about.reads == "both" else None, "the model", answers)])
