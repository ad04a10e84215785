"""What the card of an adapter that `crossflare run` trained says, with every field that is used checked."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from crossflare.errors import UserError
from crossflare.fusion.adapter_check import CARD
from crossflare.recipe.kinds import KINDS, Kind
from crossflare.tasks.dataset import Task
from crossflare.tasks.kinds import QuestionTask, TextTask
from crossflare.untrusted import Schema, check_values, either, line, list_of, none, one_of, text, whole

STAGE1 = "stage1"
"""The kind of an adapter of stage 1; it reads as zero-shot does."""


def _object(value: object) -> bool:
    return isinstance(value, dict)


def _words(value: object) -> bool:
    return isinstance(value, dict) and all(map(text(), cast(dict[str, object], value).values()))


OBJECT = (either(none, _object), "an object")
NAME = (either(none, line()), "one line of text")
TOKENS = (either(none, whole(4, 65536)), "a whole number from 4 to 65536")
SCHEMAS: dict[tuple[str, ...], Schema] = {
    (): {
        "kind": (either(none, one_of(STAGE1, *KINDS)), f"one of {', '.join((STAGE1, *KINDS))}"),
        "task": OBJECT,
        "model": OBJECT,
        "mixing": OBJECT,
        "settings": OBJECT,
        "source": NAME,
        "language": NAME,
        "train_source": (either(none, line(), _object), "one line of text or an object"),
        "max_length": TOKENS,
        "stride": (either(none, whole(0, 65536)), "a whole number from 0 to 65536"),
        "answer_tokens": (either(none, whole(1, 65536)), "a whole number from 1 to 65536"),
        "seed": (either(none, whole(0, 2**32 - 1)), "a whole number from 0 to 4294967295"),
    },
    ("task",): {
        "name": NAME,
        "labels": (either(none, list_of(text())), "a list of texts of at most 1000 signs"),
        "texts": (either(none, one_of(1, 2)), "1 or 2"),
        "form": (either(none, one_of("head", "text")), "head or text"),
        "words": (either(none, _words), "an object of texts"),
        "normalisation": (either(none, one_of("squad", "mlqa")), "squad or mlqa"),
    },
    ("model",): {
        "name": NAME,
        "revision": NAME,
        "quantise": (either(none, one_of("none", "nf4", "int8")), "none, nf4 or int8"),
    },
    ("mixing",): {
        "mix_block": (either(none, whole(0, 9999)), "a block's index"),
        "mix_blocks": (either(none, whole(1, 9999)), "a number of blocks"),
    },
    ("settings",): {"precision": (either(none, one_of("auto", "fp32", "bf16")), "auto, fp32 or bf16")},
    ("train_source",): {"engine": NAME, "model": NAME, "revision": NAME},
}
"""Where in the card -> what stands there; keys that are not here are the caller's own, and nothing reads them."""


def check_card(card: Mapping[str, Any], adapter: Path) -> Mapping[str, Any]:
    """Return a card whose fields are what they may be; a field that is null is as one that is not there.

    Raises:
        UserError: A field is not; named with what it may be.
    """
    for place, schema in SCHEMAS.items():
        values: Any = card
        for key in place:
            values = values.get(key)
        if isinstance(values, dict):
            check_values(".".join((str(adapter / CARD), *place)), cast(dict[str, Any], values), schema)
    return {key: value for key, value in card.items() if value is not None}


def task_of(card: Mapping[str, Any], adapter: Path) -> Task:
    """Return the task that an adapter was trained for.

    Raises:
        UserError: The card does not say.
    """
    task: dict[str, Any] = card.get("task") or {}
    name, labels = str(task.get("name")), task.get("labels")
    if labels is not None and task.get("texts") is not None:
        if task.get("normalisation") is not None:
            return QuestionTask(name, 1)
        if len(labels) > 1:
            return TextTask(name, 1, tuple(labels), text_count=task["texts"])
    raise UserError(f"{adapter}: its card does not say which labels it predicts; train it with `crossflare run`")


def kind_of(card: Mapping[str, Any], adapter: Path) -> Kind:
    """Return the kind of method that an adapter was trained for.

    Raises:
        UserError: The card does not say.
    """
    name = card.get("kind")
    if name is None:
        raise UserError(f"{adapter / CARD}: expected a kind of method, found none; train it with `crossflare run`")
    return KINDS["zero-shot" if name == STAGE1 else name]
