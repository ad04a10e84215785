"""Checks of answers from outside, before anything is made: files of answers, prompted models, and endpoints."""

from collections.abc import Iterator, Sequence

from crossflare.errors import UserError
from crossflare.experiment.data.answered import answers_file, answers_of
from crossflare.experiment.steps.context import Context
from crossflare.recipe.methods import MethodSpec


def check_outside(contexts: Sequence[Context], *, fetch: bool) -> Iterator[tuple[Context, UserError]]:
    """Yield what is wrong with files of answers and with prompts; nothing is sent anywhere.

    Args:
        contexts: The recipes.
        fetch: Whether the configuration and tokenizer of a model on the hub may be fetched.
    """
    for context in contexts:
        for method in context.spec.methods:
            if method.about.outside == "file":
                yield from ((context, error) for error in _wrong_files(context, method))


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
