"""Batches of prompts and answers for a model that writes, decoder-only or encoder-decoder; loss and first logits."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from peft import PeftModel
from torch import Tensor
from torch.nn import functional

from crossflare.errors import UserError
from crossflare.libraries.transformers import takes
from crossflare.training.loop.balance import WEIGHTS, mean_loss
from crossflare.training.loop.state import Batch
from crossflare.training.text.collators import pad_latents
from crossflare.training.text.encoded import Numbers
from crossflare.training.text.prompts import PromptRow

IGNORED = -100
"""The label of tokens that the model is given and does not predict."""
Grid = NDArray[np.int64]


class PromptCollator:
    """A collator that pads prompts, sources and answers to tensors.

    Decoder-only models get prompt and answer in one row, padded on the left so that all rows end together;
    `fusion_mask` marks the prompt, the only part that fuses with the source. Encoder-decoder models get the prompt,
    padded on the right, and the answer as `decoder_input_ids` and `labels`.

    Args:
        model: A transformers or peft model that writes.
        tokenizer: Its tokenizer.
        least: The minimum width of prompts and sources.

    Raises:
        UserError: The tokenizer has no padding token.
    """

    def __init__(self, model: Any, tokenizer: Any, least: int = 1) -> None:
        if tokenizer.pad_token_id is None:
            raise UserError("the tokenizer has no padding token; set tokenizer.pad_token, for example to its eos_token")
        self.pad, self.least = int(tokenizer.pad_token_id), least
        self.encoder_decoder = bool(model.config.is_encoder_decoder)
        self.start = model.config.decoder_start_token_id if self.encoder_decoder else None
        self.positions = not self.encoder_decoder and takes(_base(model), "position_ids")

    def __call__(self, rows: Sequence[PromptRow]) -> Batch:
        """Return prompts with their answers if all rows have one, else prompts alone; see the class."""
        answers = [row.answer for row in rows if row.answer is not None]
        if len(answers) < len(rows):
            return self.prompts(rows)
        if not self.encoder_decoder:
            whole = [np.concatenate([row.prompt, row.answer]) for row in rows if row.answer is not None]
            ids, mask = self._pad(whole)
            place = np.arange(ids.shape[1]) >= ids.shape[1] - np.array([len(answer) for answer in answers])[:, None]
            batch = self._target(ids, mask)
            batch["fusion_mask"] = torch.from_numpy(mask * ~place)
            batch["labels"] = torch.from_numpy(np.where(place, ids, IGNORED))
            return batch | self._source(rows)
        batch = self.prompts(rows)
        ids, mask = self._pad(answers, left=False, least=1)
        batch["labels"] = torch.from_numpy(np.where(mask > 0, ids, IGNORED))
        first = np.full((len(rows), 1), self.start)
        batch["decoder_input_ids"] = torch.from_numpy(np.concatenate([first, ids[:, :-1]], 1))
        return batch

    def prompts(self, rows: Sequence[PromptRow]) -> Batch:
        """Return prompts without answers."""
        ids, mask = self._pad([row.prompt for row in rows])
        return self._target(ids, mask) | self._source(rows)

    def _target(self, ids: Grid, mask: Grid) -> Batch:
        batch = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
        if self.positions:  # otherwise padding on the left would count
            batch["position_ids"] = torch.from_numpy((mask.cumsum(1) - 1).clip(0))
        return batch

    def _source(self, rows: Sequence[PromptRow]) -> Batch:
        if any(row.latents is not None for row in rows):
            return pad_latents([row.latents for row in rows])
        if all(row.source is None for row in rows):
            return {}
        empty = np.zeros(0, dtype=np.int32)
        ids, mask = self._pad([empty if row.source is None else row.source for row in rows])
        return {"source_input_ids": torch.from_numpy(ids), "source_attention_mask": torch.from_numpy(mask)}

    def _pad(
        self, texts: Sequence[Numbers], *, left: bool | None = None, least: int | None = None
    ) -> tuple[Grid, Grid]:
        """Return token ids and their mask, [B,T] each; padding is on the left for decoder-only models."""
        left = not self.encoder_decoder if left is None else left
        width = max(self.least if least is None else least, *(len(text) for text in texts))
        ids = np.full((len(texts), width), self.pad, dtype=np.int64)
        mask = np.zeros((len(texts), width), dtype=np.int64)
        for number, text in enumerate(texts):
            place = slice(width - len(text), None) if left else slice(len(text))
            ids[number, place] = text
            mask[number, place] = 1
        return ids, mask


@dataclass(frozen=True, slots=True)
class Written:
    """A model's reading of prompts with their answers."""

    losses: Tensor
    """The mean cross-entropy [B] of each row's answer."""
    logits: Tensor
    """The logits [B,A,V] that the answers' tokens are compared with; of shorter answers, some are of no token."""
    asked: Tensor
    """Which of them are of the answer's tokens, [B,A] bool."""
    output: Any

    def first(self, values: Tensor) -> Tensor:
        """Return those of `values` [B,>=A,...] from which the answer's first token is chosen, [B,...]."""
        if values.shape[1] > self.asked.shape[1]:  # of a decoder's whole row, which ends with the answer
            values = values[:, -self.asked.shape[1] - 1 : -1]
        return values[torch.arange(len(values), device=values.device), self.asked.long().argmax(1)]


def read_written(model: Any, batch: Batch, **options: Any) -> Written:
    """Run a model over prompts with their answers; the call changes the batch, and passes `options` on."""
    labels = batch.pop("labels")
    if "decoder_input_ids" not in batch:
        # Answers are at the end of the rows: logits are computed only for them and for the token before.
        answer = int((labels != IGNORED).sum(1).max())
        labels = labels[:, -answer:]
        output = model(**batch, **_keep(model, answer + 1), **options)
        logits = output.logits[:, -answer - 1 : -1]
    else:
        output = model(**batch, **options)
        logits = output.logits
    each = functional.cross_entropy(
        logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="none"
    )
    asked = labels != IGNORED
    return Written(each.view_as(labels).sum(1) / asked.sum(1), logits, asked, output)


def written_loss(model: Any, batch: Batch) -> Tensor:
    """Return the mean over rows of each row's mean cross-entropy over its answer's tokens."""
    weights = batch.pop(WEIGHTS, None)
    return mean_loss(read_written(model, batch).losses, weights)


def first_logits(model: Any, batch: Batch) -> tuple[Tensor, Tensor | None]:
    """Return the first token's logits [B,V] after the prompts, and the base model's own after the sources, if any."""
    config = model.config
    if config.is_encoder_decoder:
        start = torch.full(
            (len(batch["input_ids"]), 1), config.decoder_start_token_id, device=batch["input_ids"].device
        )
        output = model(**batch, decoder_input_ids=start)
    else:
        output = model(**batch, **_keep(model, 1))
    source = getattr(output, "source_logits", None)
    return output.logits[:, -1], None if source is None else source[:, -1]


def _keep(model: Any, count: int) -> dict[str, int]:
    """Return the argument that limits a model's logits to the last tokens, if the model has one."""
    return {"logits_to_keep": count} if takes(_base(model), "logits_to_keep") else {}


def _base(model: Any) -> Any:
    return model.get_base_model() if isinstance(model, PeftModel) else model
