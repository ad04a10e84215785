"""Checks of answers from outside, before anything is made: files of answers, prompted models, and endpoints."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from crossflare.errors import UserError, choose
from crossflare.experiment.data.answered import answers_file, answers_of
from crossflare.experiment.steps.context import Context
from crossflare.experiment.steps.outside import endpoint_of, label_words, prompt_template, prompted_spec
from crossflare.experiment.steps.prediction import PredictionStep
from crossflare.experiment.steps.step import Step
from crossflare.recipe.engines import model_place
from crossflare.recipe.methods import MethodSpec
from crossflare.recipe.templates import check_fields, fields_of

FIRST_TRIES = 2
"""How often an endpoint is asked before a run begins."""


def check_answers(contexts: Sequence[Context], *, fetch: bool) -> Iterator[tuple[Context, UserError]]:
    """Yield what is wrong with files of answers and with prompts; nothing is sent anywhere.

    Args:
        contexts: The recipes.
        fetch: Whether the configuration and tokenizer of a model on the hub may be fetched.
    """
    for context in contexts:
        for method in context.spec.methods:
            if method.about.outside == "file":
                yield from ((context, error) for error in _wrong_files(context, method))
            elif method.about.outside == "prompt":
                try:
                    _try_prompt(context, method, fetch)
                except UserError as error:
                    yield context, UserError(f"methods.{method.name}: {error}")


def _try_prompt(context: Context, method: MethodSpec, fetch: bool) -> None:
    task = context.data.task
    check_fields(prompt_template(context, method), fields_of(context.spec.task.asks, task.text_count))
    words = label_words(context, method)
    for label in method.words:
        choose("label in words", label, task.labels)
    if len({word.casefold().strip() for word in words}) < len(words) or not all(word.strip() for word in words):
        raise UserError(f"expected a word of its own for each label, got {', '.join(words)}; give other words")
    if method.endpoint is not None:
        endpoint_of(method).key()
        return
    from crossflare.experiment.making.prompted import check_prompt
    from crossflare.training.bases.empty import empty_base

    spec = prompted_spec(context, method)
    found = empty_base(
        model_place(spec.name), task, "text", revision=spec.revision, quantise=spec.quantise, fetch=fetch
    )
    if found is None:
        return
    if found[0].config.is_encoder_decoder:
        raise UserError(
            f"model '{spec.name}' is an encoder-decoder; expected a decoder-only model, which goes on a prompt"
        )
    check_prompt(context, method, *found)


def check_endpoints(steps: Sequence[Step]) -> None:
    """Ask each endpoint that is still to be asked for one token, before anything is trained.

    Raises:
        UserError: It does not answer, or refuses the request.
    """
    asked: set[tuple[str, str, str | None]] = set()
    for step in steps:
        if isinstance(step, PredictionStep) and (method := step.method).endpoint is not None:
            who = (method.endpoint, str(method.model), method.key_env)
            if who not in asked:
                asked.add(who)
                replace(endpoint_of(method), tries=FIRST_TRIES).ask("Hello", 1)


def _wrong_files(context: Context, method: MethodSpec) -> Iterator[UserError]:
    read: set[tuple[str, str]] = set()
    for language in context.spec.languages(method):
        for seed in context.spec.seeds:
            place = (language, repr(answers_file(method, language, seed)))
            if place in read:
                continue
            read.add(place)
            try:
                answers_of(context.data, method, language, seed)
            except UserError as error:
                yield error
