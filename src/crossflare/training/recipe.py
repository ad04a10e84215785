"""How classifiers are trained, whatever the stage and the method: labelled rows in, the weights best on dev out."""

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from crossflare.errors import UserError
from crossflare.files import content_id
from crossflare.tasks.example import Split
from crossflare.training.checkpoints import Fingerprint
from crossflare.training.collators import Encoded, PairCollator, encode
from crossflare.training.fit import Outcome, fit
from crossflare.training.inference import logits
from crossflare.training.precision import Number
from crossflare.training.settings import Settings
from crossflare.training.trainer import Batch, Score


def train(
    model: Any,
    train: Split,
    dev: Split | None,
    tokenizer: Any,
    settings: Settings,
    folder: Path,
    with_source: bool,
    *,
    latents: tuple[Sequence[Tensor], Sequence[Tensor]] | None = None,
    base_digest: str | None = None,
    allow_changed: Collection[str] = (),
) -> Outcome:
    """Train a sequence classifier on labelled rows; see `fit` for the rest.

    Args:
        model: A transformers or peft model with a classification head; what requires a gradient is trained.
        train: Labelled rows.
        dev: Labelled rows that choose the weights; None: the last step's are kept.
        tokenizer: The model's.
        settings: The settings.
        folder: Where the checkpoints of this very run live.
        with_source: Give the model `Example.source` too (it must be a FLARE model).
        latents: For FLARE MT, the translation encoder's states [S,d_mt] for each row of train and of dev.
        base_digest: The base's digest if known; computed from the frozen parameters otherwise.
        allow_changed: Fields of the fingerprint that may differ from the checkpoint's.

    Raises:
        UserError: A row without a label, a limit of the model exceeded, or whatever `fit` refuses.
    """
    labels = int(model.config.num_labels)
    for split in (train, dev) if dev is not None else (train,):
        _check_split(split, labels)
    _check_length(model, tokenizer, settings.max_length)
    collate = PairCollator(tokenizer, settings.max_length, with_source=with_source)
    states = latents or (None, None)
    rows = encode(tokenizer, train.examples, settings.max_length, with_source=with_source, latents=states[0])
    score = None
    if dev is not None:
        dev_rows = encode(tokenizer, dev.examples, settings.max_length, with_source=with_source, latents=states[1])
        score = _dev_score(dev_rows, collate, settings, labels)
    identity: Fingerprint = {
        "train": train.digest,
        "dev": None if dev is None else dev.digest,
        "with_source": "latents" if latents else with_source,
        "tokenizer": _tokenizer_id(tokenizer),
    }
    return fit(
        model,
        rows,
        collate,
        classification_loss,
        score,
        settings,
        folder,
        identity,
        base_digest=base_digest,
        allow_changed=allow_changed,
    )


def classification_loss(model: Any, batch: Batch) -> Tensor:
    """Return the mean cross-entropy, computed in float32 whatever the model computes in."""
    labels = batch.pop("labels")
    return functional.cross_entropy(model(**batch).logits.float(), labels)


def _dev_score(rows: Encoded, collate: PairCollator, settings: Settings, labels: int) -> Score:
    from sklearn.metrics import accuracy_score, f1_score

    gold = list(rows.labels)

    def score(model: Any, precision: Number) -> float:
        outputs = logits(model, rows, collate, 2 * settings.batch_size, precision, "scoring dev").fused
        if not bool(torch.isfinite(outputs).all()):
            wrong = [rows.names[i] for i in (~torch.isfinite(outputs).all(-1)).nonzero().flatten().tolist()]
            raise UserError(f"the model's outputs on dev are not finite, first on row {wrong[0]}; lower lr or use fp32")
        predicted = outputs.argmax(-1).tolist()
        if settings.metric == "accuracy":
            return float(accuracy_score(gold, predicted))
        nothing: Any = 0  # scikit-learn's annotation of zero_division forgets the numbers
        return float(f1_score(gold, predicted, labels=range(labels), average="macro", zero_division=nothing))

    return score


def _check_split(split: Split, labels: int) -> None:
    if not len(split):
        raise UserError(f"{split.part} of {split.language} has no rows; check the file and what was filtered out")
    for example in split:
        if example.label is None or not 0 <= example.label < labels:
            where = example.origin or f"{split.part} of {split.language}"
            got = "none" if example.label is None else str(example.label)
            raise UserError(f"{where}: row '{example.id}': expected a label from 0 to {labels - 1}, got {got}")


def _check_length(model: Any, tokenizer: Any, max_length: int) -> None:
    positions = getattr(model.config, "max_position_embeddings", None)
    # RoBERTa's family counts positions from its padding id on, and says so in the tokenizer's limit alone.
    limit = min(tokenizer.model_max_length, positions or tokenizer.model_max_length)
    if max_length > limit:
        raise UserError(f"max_length: the model reads at most {limit} tokens, got {max_length}; lower it")


def _tokenizer_id(tokenizer: Any) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = json.loads(backend.to_str()) if backend is not None else tokenizer.get_vocab()
    if backend is not None:
        # Padding and truncation are what the last call left behind, not part of the tokenizer.
        rules |= {"padding": None, "truncation": None}
    return content_id([rules, tokenizer.padding_side, tokenizer.pad_token_id])
