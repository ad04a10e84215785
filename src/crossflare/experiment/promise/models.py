"""Checks whether a recipe's base model can do what its methods need, before anything is made.

A base from a package is known: for plain recipes its files answer the check, without torch. Any other model gets a
trial (`trial.try_model`), whose imports take seconds.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from crossflare.disk.files import content_id
from crossflare.errors import UserError
from crossflare.experiment.steps.context import Context
from crossflare.recipe.methods import MethodSpec
from crossflare.recipe.spec import ModelSpec
from crossflare.tasks.kinds import TextTask
from crossflare.training.bases.packaged import BASES, base_place


def check_models(contexts: Sequence[Context], *, fetch: bool) -> Iterator[tuple[Context, str]]:
    """Yield the errors of each recipe's model; a check that several recipes share runs once.

    Args:
        contexts: The recipes.
        fetch: Whether the configuration and tokenizer of a model on the hub may be fetched.
    """
    seen: dict[str, str | None] = {}
    for context in contexts:
        stage1 = context.spec.has_stage1
        for method in ((None,) if stage1 else ()) + context.spec.methods:
            if method is not None and method.about.outside:
                continue
            reads_alone = method is None or method.about.trains or method.about.reads == "source"
            if stage1 and method is not None and (method.of or not reads_alone):
                continue
            key = _key(context, method)
            if key not in seen:
                try:
                    if not is_plain(context, method):
                        from crossflare.experiment.promise.trial import try_model

                        try_model(context, method, fetch=fetch)
                    seen[key] = None
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


FREE = (
    "name",
    "kind",
    "of",
    "train_source",
    "test_source",
    "trained_in",
    "through",
    "languages",
    "lr",
    "epochs",
    "r",
    "alpha",
)
"""The fields of a method that a plain recipe may set."""
SHORTEST, HIGHEST = 8, 256
"""The least `max_length` of a plain recipe, and the highest rank of its adapters."""


def is_plain(context: Context, method: MethodSpec | None) -> bool:
    """Return whether a method, or stage 1, needs nothing of a packaged BERT that the trial could refuse.

    This is true only for a new head for labels, texts that are short enough, and adapters with their kind's defaults.

    Raises:
        UserError: The model's package is missing, or is not the known one.
    """
    spec, model = context.spec, context.spec.model
    if model != ModelSpec(model.name) or model.name not in BASES:
        return False
    place = Path(base_place(model.name))
    training = spec.stage1 if method is None else spec.training(method)
    joins = method is not None and method.about.joins
    return (
        spec.task.form == "head"
        and spec.stage1.trains
        and isinstance(context.data.task, TextTask)
        and (method is None or _is_plain_method(method))
        and training.modules == "attention"
        and training.r <= HIGHEST
        and SHORTEST <= training.max_length <= _positions(place) // (2 if joins else 1)
    )


def _is_plain_method(method: MethodSpec) -> bool:
    about = method.about
    if about.mixes != "none" or about.padded or about.reads == "latents" or "annealed" in method.training_source:
        return False
    free = {name: getattr(method, name) for name in FREE}
    return method == MethodSpec(**free)


def _positions(folder: Path) -> int:
    """Return how many tokens a BERT and its tokenizer read; 0 for another model."""
    config, tokenizer = (
        json.loads((folder / f"{name}.json").read_text("utf-8")) for name in ("config", "tokenizer_config")
    )
    if config.get("model_type") != "bert":
        return 0
    return min(config.get("max_position_embeddings", 0), tokenizer.get("model_max_length", 0))
