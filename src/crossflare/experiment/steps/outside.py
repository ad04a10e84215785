"""What the answers of a file or of a prompted model depend on, for the id of their step; and the rows in a prompt."""

import hashlib
from pathlib import Path
from typing import Any

from crossflare.disk.files import digest_file
from crossflare.experiment.data.answered import answers_file
from crossflare.experiment.prompting.endpoint import Endpoint
from crossflare.experiment.steps.context import Context
from crossflare.recipe.methods import MethodSpec
from crossflare.recipe.spec import ModelSpec
from crossflare.recipe.templates import default_template
from crossflare.tasks.example import Example


def file_key(method: MethodSpec, language: str, seed: int) -> dict[str, Any]:
    """Return the hash of a file of answers and how it is read; a file that is not there has no hash."""
    part = answers_file(method, language, seed)
    path = Path(str(part.path))
    said = {name: value for name, value in part.given().items() if name != "path"}
    return {"sha256": digest_file(path) if path.is_file() else None, "layout": said}


def prompt_key(context: Context, method: MethodSpec, seed: int) -> dict[str, Any]:
    """Return all that the answers of a prompted model depend on, except for the test rows."""
    spec, training = context.spec, context.spec.stage2
    cut = {} if method.endpoint is not None else {"max_length": training.max_length, "precision": training.precision}
    return {
        **prompted_model(context, method),
        "template": prompt_template(context, method),
        "words": [] if spec.task.asks else label_words(context, method),
        "examples": [[e.id, e.texts, e.label, [a.text for a in e.answers]] for e in shown_rows(context, method, seed)],
        "answer_tokens": training.answer_tokens,
        **cut,
    }


def prompted_model(context: Context, method: MethodSpec) -> dict[str, Any]:
    """Return the identity of the model that is asked: its weights, or its name and the server's address."""
    if method.endpoint is not None:
        return {"endpoint": method.endpoint, "model": method.model}
    return {"model": context.model_key(prompted_spec(context, method))}


def prompted_spec(context: Context, method: MethodSpec) -> ModelSpec:
    """Return the model on this machine or on the hub that a method asks."""
    return context.spec.model if method.model is None else ModelSpec(method.model, method.revision)


def endpoint_of(method: MethodSpec) -> Endpoint:
    """Return the server that a method asks."""
    return Endpoint(str(method.endpoint), str(method.model), method.key_env, method.timeout)


def prompt_template(context: Context, method: MethodSpec) -> str:
    """Return the template of a method's prompts."""
    return method.template or default_template(context.spec.task.asks, context.data.task.text_count)


def label_words(context: Context, method: MethodSpec) -> list[str]:
    """Return the word of each label."""
    words = {**context.spec.task.words, **method.words}
    return [words.get(label, label) for label in context.data.task.labels]


def shown_rows(context: Context, method: MethodSpec, seed: int) -> list[Example]:
    """Return the labelled rows that stand before each row of a prompt, drawn by the seed.

    They are rows of the source language's train part, label by label in turn as far as each label has rows. Hashes of
    seed and id draw them and put them into an order, so that nothing depends on a random generator.
    """
    if not method.shots:
        return []
    ordered = sorted(context.data.source_task("train"), key=lambda example: _hash(seed, example.id, "draw"))
    groups: dict[int | None, list[Example]] = {}
    for example in ordered:
        groups.setdefault(example.label, []).append(example)
    turns = [(place, example) for group in groups.values() for place, example in enumerate(group)]
    drawn = [example for _, example in sorted(turns, key=lambda turn: turn[0])][: method.shots]
    return sorted(drawn, key=lambda example: _hash(seed, example.id, "order"))


def _hash(seed: int, id: str, what: str) -> bytes:
    return hashlib.sha256(f"{what}\0{seed}\0{id}".encode("utf-8", "surrogatepass")).digest()
