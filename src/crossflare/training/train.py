"""How every model is trained, for any stage, method and task: labelled rows give the weights with the best score."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crossflare.disk.files import content_id
from crossflare.errors import UserError
from crossflare.libraries.transformers import config_value
from crossflare.tasks.example import Split
from crossflare.training.forms.protocol import Form, Outputs
from crossflare.training.loop.checkpoints import Fingerprint
from crossflare.training.loop.fit import Outcome, fit
from crossflare.training.loop.memory import Number
from crossflare.training.loop.settings import Settings
from crossflare.training.loop.state import Score
from crossflare.training.text.encoded import Latents

Measure = Callable[[Outputs, Split], float]
"""(the model's outputs, the rows with their gold answers) -> score, higher is better."""


def train(
    model: Any,
    train: Split,
    dev: Split | None,
    tokenizer: Any,
    form: Form,
    settings: Settings,
    folder: Path,
    *,
    measure: Measure,
    identity: Fingerprint,
    latents: tuple[Latents, Latents] | None = None,
    base_digest: str | None = None,
    group: int = 1,
) -> Outcome:
    """Train a model on labelled rows; see `fit` for the rest.

    Args:
        model: A transformers or peft model; the parameters that require a gradient are trained.
        train: Labelled rows.
        dev: Labelled rows that choose the weights; None: the last step's weights are kept.
        tokenizer: The model's tokenizer.
        form: How the task is put to the model.
        settings: The settings.
        folder: The folder of this run's checkpoints.
        measure: The score on dev.
        identity: What else the result depends on, as JSON: the form, the engine that made the latents.
        latents: For FLARE MT, the translation encoder's states for the rows of train and of dev.
        base_digest: The base's digest if known; computed from the frozen parameters otherwise.
        group: The number of consecutive rows that are one item in several languages; they stay in one batch.

    Raises:
        UserError: A row has no label, a text may exceed the model's limit, or `fit` refuses the run.
    """
    for split in (train, dev) if dev is not None else (train,):
        check_labelled(split, form.labels)
    check_length(model, tokenizer, form.longest)
    states = latents or (None, None)
    rows = form.encode(train.examples, states[0])
    score = None if dev is None else _dev_score(form, dev, form.encode(dev.examples, states[1]), settings, measure)
    whole: Fingerprint = {
        **identity,
        "train": train.digest,
        "dev": None if dev is None else dev.digest,
        "tokenizer": _tokenizer_id(tokenizer),
    }
    return fit(
        model,
        rows,
        form.collate,
        form.loss,
        score,
        settings,
        folder,
        whole,
        base_digest=base_digest,
        group=group,
        labels=[example.label for example in train] if form.labels else None,
    )


def _dev_score(form: Form, dev: Split, rows: Any, settings: Settings, measure: Measure) -> Score:
    def score(model: Any, precision: Number) -> float:
        return measure(form.read(model, dev.examples, rows, 2 * settings.batch_size, precision, "scoring dev"), dev)

    return score


def check_labelled(split: Split, labels: int) -> None:
    """Refuse rows without a label, or without an answer if the task has no labels (`labels` is 0).

    Raises:
        UserError: There are no rows, or a row has none; the message names it.
    """
    if not len(split):
        raise UserError(f"{split.part} of {split.language} has no rows; check the file and what was filtered out")
    for example in split:
        where = f"{example.origin or f'{split.part} of {split.language}'}: row '{example.id}'"
        if not labels and not example.answers:
            raise UserError(f"{where}: expected an answer, found none; label the row or take it out")
        if labels and (example.label is None or not 0 <= example.label < labels):
            got = "none" if example.label is None else str(example.label)
            raise UserError(f"{where}: expected a label from 0 to {labels - 1}, got {got}")


def check_length(model: Any, tokenizer: Any, longest: int) -> None:
    """Refuse more tokens than the model reads: `max_length`, plus the answer after a decoder's prompt.

    Raises:
        UserError: `longest` is above the model's or the tokenizer's limit.
    """
    positions = config_value(model.config, "max_position_embeddings")
    # RoBERTa's family counts positions from its padding id; only the tokenizer's limit accounts for that.
    limit = min(tokenizer.model_max_length, positions or tokenizer.model_max_length)
    if longest > limit:
        raise UserError(f"max_length: the model reads at most {limit} tokens, got {longest}; lower it")


def _tokenizer_id(tokenizer: Any) -> str:
    if tokenizer.is_fast:
        # The last call sets padding and truncation: they are not part of the tokenizer.
        rules = json.loads(tokenizer.backend_tokenizer.to_str()) | {"padding": None, "truncation": None}
    else:
        rules = tokenizer.get_vocab()
    return content_id([rules, tokenizer.padding_side, tokenizer.pad_token_id])
