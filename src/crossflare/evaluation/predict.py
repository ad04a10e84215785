"""A model over examples: what it says of every row, in the rows' order."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from crossflare.tasks.example import Example
from crossflare.training.forms.protocol import Form, Outputs
from crossflare.training.loop.memory import resolve
from crossflare.training.loop.settings import Precision
from crossflare.training.text.encoded import Latents


def predict(
    model: Any,
    form: Form,
    examples: Sequence[Example],
    *,
    read: Literal["target", "source", "both", "latents"],
    latents: Latents | None = None,
    batch_size: int = 64,
    precision: Precision = "auto",
) -> Outputs:
    """Run a model over examples.

    Args:
        model: A model that can do the task in the form, with or without adapters.
        form: How the task is put to it; with sources where `read` is `both`.
        examples: N rows; labels and answers are not looked at by the model.
        read: `target`: the texts; `source`: the sources in their place (translate-test); `both`: a FLARE model reads
            the texts with their sources beside them; `latents`: with `latents` beside them (FLARE MT).
        latents: The translation encoder's states.
        batch_size: Rows per forward pass.
        precision: As in training.
    """
    rows: Sequence[Example] = examples
    if read == "source":
        # A row without a translation is read as it is: a prediction is owed for every row. Gold answers are of the
        # target's texts: no span of the translation is labelled.
        rows = [
            replace(e, texts=e.source, source=None, answers=()) if e.source else replace(e, source=None) for e in rows
        ]
    encoded = form.encode([replace(e, label=None) for e in rows], latents)
    number = resolve(precision, next(model.parameters()).device)
    outputs = form.read(model, rows, encoded, batch_size, number, "predicting")
    return replace(outputs, truncated=form.truncated(rows))
