"""Whether a recipe's translators and base model can do what its methods ask, tried before anything is made."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from peft import get_peft_model

from crossflare.errors import UserError
from crossflare.experiment.data.rows import Data
from crossflare.experiment.making.building import adapter_config, form_of, lora_config, mixing_of, task_type_of
from crossflare.experiment.steps.context import Context
from crossflare.files import content_id
from crossflare.inspection.work import translated_parts
from crossflare.recipe.engines import check_taught, model_place
from crossflare.recipe.kinds import KINDS, Kind
from crossflare.recipe.methods import MethodSpec
from crossflare.recipe.needs import Route, routes
from crossflare.recipe.spec import Training
from crossflare.tasks.example import Answer, Example
from crossflare.training.bases.empty import empty_base
from crossflare.training.forms.make import prepare
from crossflare.training.loop.batching import check_groups
from crossflare.training.train import check_length
from crossflare.translation.engines.families import check_named
from crossflare.translation.engines.precomputed import Precomputed
from crossflare.translation.engines.protocol import stand_ins

NEURAL = ("transformers", "ctranslate2")


def check_engines(data: Data, *, fetch: bool) -> list[str]:
    """Return what is wrong with each translator that the recipe uses.

    Args:
        data: The recipe's rows and translators.
        fetch: Whether the configuration and tokenizer of a model on the hub may be fetched; else a model that is not
            on this machine is known by its name alone.
    """
    wrong: list[str] = []
    for route, language in routes(data.spec):
        try:
            _check(data, route, language, fetch)
        except UserError as error:
            wrong.append(str(error))
    return wrong


def _check(data: Data, route: Route, language: str, fetch: bool) -> None:
    options = getattr(data.spec.translation, route)
    source = data.spec.source
    pair = (source, language) if route in ("to_target", "answers") else (language, source)
    if options is not None and options.engine in NEURAL:
        others, model = stand_ins(options.options.get("mt_language")), str(options.options.get("model", ""))
        local = Path(model_place(model)).is_dir()
        if not local:
            check_named(model, others, *(pair[:1] if route == "latents" else pair))
            if not fetch and not _here(model, options.options.get("revision")):
                return
    if options is not None and options.options.get("learn") == "train":
        check_taught(route, options)
        return  # it is learnt from rows, which are checked as rows
    engine: Any = data.translations.engines.get(route, language)
    inner = getattr(engine, "engine", engine)
    if hasattr(inner, "check"):
        inner.check(pair[0], None if route == "latents" else pair[1])
    if isinstance(inner, Precomputed) and route in ("to_target", "to_source"):
        texts = _known_texts(data, route, language)
        inner.translate(texts, source=pair[0], target=pair[1])


def _known_texts(data: Data, route: Route, language: str) -> list[str]:
    """Return the texts of the set that a translator is to translate."""
    read = data.spec.source if route == "to_target" else language
    parts = ("train", "dev") if route == "to_target" else translated_parts(data.spec, language)
    return [text for part in parts for example in data.rows(read, part) for text in example.texts]


def _here(model: str, revision: str | None) -> bool:
    """Whether a model on the hub lies in the cache of this machine."""
    from huggingface_hub import try_to_load_from_cache

    try:
        return isinstance(try_to_load_from_cache(model, "config.json", revision=revision), str)
    except ValueError:  # no name that the hub could have
        return True


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
        stage1 = (None,) if context.spec.stage1.trains else ()
        for method in (*stage1, *context.spec.methods):
            reads_alone = method is None or method.about.trains or method.about.reads == "source"
            if method is not None and (method.of or not reads_alone) and context.spec.stage1.trains:
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
    if method is not None and not context.spec.stage1.trains:
        _check_reader(context, method, model)
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


def _check_reader(context: Context, method: MethodSpec, model: Any) -> None:
    """Refuse methods that read with stage 1 where it is left out and the model has not learnt the task before."""
    reads_with_it = not method.about.adapted or method.about.combines
    heads = ("ForSequenceClassification", "ForQuestionAnswering")
    own_head = any(str(name).endswith(heads) for name in model.config.architectures or ())
    if reads_with_it and context.spec.task.form == "head" and not own_head:
        raise UserError(
            f"{method.name} reads with the model of stage 1, which is left out, and {context.spec.model.name} has no "
            f"trained head of its own; take {method.name} out, or train stage 1"
        )


def _check_form(context: Context, training: Training, model: Any, tokenizer: Any, about: Kind, source: str) -> None:
    """Let the form of the task read a row: it says what tokenizer and lengths cannot do."""
    form = form_of(context, training, model, tokenizer, about, source)
    check_length(model, tokenizer, form.longest)
    texts = ("a", "a")[: context.data.task.text_count]
    answers = (Answer("a", 0),) if context.spec.task.asks else ()
    label = None if context.spec.task.asks else 0
    form.encode([Example("0", texts, label, texts if about.reads == "both" else None, "the model", answers)])
