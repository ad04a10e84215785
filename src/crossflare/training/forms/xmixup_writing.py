"""X-Mixup as published, in models that write; what it is for a head is in `xmixup`.

The source's loss is that of the same word after the source's prompt, or of the source's own answer where it is known,
with nothing mixed in. Two languages agree for labels in KL(p_source || p_target) over the labels' words and in the mean
squared difference of the states that the first token is chosen from; for answers in that of the prompts' mean states.
Labels are chosen by the mean of both languages' log-probabilities, answers are written from the target's prompt.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from crossflare.tasks.example import Example
from crossflare.training.forms.answering import TextForm
from crossflare.training.forms.choosing import WordForm
from crossflare.training.forms.protocol import Choices, average
from crossflare.training.forms.xmixup import LABELS, SPANS, mean_state, there_in
from crossflare.training.loop.balance import WEIGHTS, mean_loss
from crossflare.training.loop.memory import Number
from crossflare.training.loop.state import Batch
from crossflare.training.text.encoded import Latents, Numbers
from crossflare.training.text.prompts import PromptRow, PromptRows
from crossflare.training.text.writing import PromptCollator, Written, read_written

MIRROR, KNOWN = "mirror_", "answer_known"
"""The prefix of what is read with the source in the target's place; and whether its answer is known, [B] bool."""


class XMixupWordForm(WordForm):
    """Labels by words on a prepared model; see the module."""

    def __init__(self, task: Any, model: Any, tokenizer: Any, *args: Any, **options: Any) -> None:
        super().__init__(task, model, tokenizer, *args, **options)
        self.collate = _MirrorCollator(model, tokenizer, self.collate.least)

    def encode(self, examples: Sequence[Example], latents: Latents | None = None) -> PromptRows:
        """Tokenise prompts, and each source as a prompt of its own; see `Form`."""
        rows = super().encode(examples, latents)
        rows.mirror = super().encode([replace(e, texts=e.source or e.texts, source=None) for e in examples])
        return rows

    def loss(self, model: Any, batch: Batch, step: int = 0, /) -> Tensor:
        """Return the mean over rows of both languages' losses plus their disagreement."""
        mirror, _, there, weights = _apart(batch)
        own = read_written(model, batch, output_hidden_states=True)
        if not bool(there.any()):
            return mean_loss(own.losses, weights)
        other = read_written(model, mirror, output_hidden_states=True)
        words = self.first.to(own.logits.device)
        said, others = (each.first(each.logits)[:, words].float().log_softmax(-1) for each in (own, other))
        apart = functional.kl_div(said, others, reduction="none", log_target=True).sum(-1)
        states = [each.first(_states(each)).float() for each in (own, other)]
        both = LABELS * other.losses + (1 - LABELS) * own.losses + apart + (states[0] - states[1]).square().mean(-1)
        return mean_loss(torch.where(there, both, own.losses), weights)

    def read(
        self, model: Any, examples: Sequence[Example], rows: Any, batch_size: int, precision: Number, description: str
    ) -> Choices:
        """Return the normalised mean of the log-probabilities for both languages."""
        said = super().read(model, examples, rows, batch_size, precision, description)
        if not self.with_source or not any(example.source for example in examples):
            return said
        other = super().read(model, examples, rows.mirror, batch_size, precision, f"{description} by the sources")
        return replace(said, log_probabilities=average(said.log_probabilities, other.log_probabilities))


class XMixupTextForm(TextForm):
    """Written answers on a prepared model; see the module."""

    def __init__(self, task: Any, model: Any, tokenizer: Any, *args: Any, **options: Any) -> None:
        super().__init__(task, model, tokenizer, *args, **options)
        self.collate = _MirrorCollator(model, tokenizer, self.collate.least)

    def encode(self, examples: Sequence[Example], latents: Latents | None = None) -> PromptRows:
        """Tokenise prompts, and each source as a prompt of its own; see `Form`."""
        rows = super().encode(examples, latents)
        mirrored = [
            replace(e, texts=e.source, answers=e.source_answers, source=None) if e.source else replace(e, source=None)
            for e in examples
        ]
        rows.mirror = super().encode(mirrored)
        return rows

    def loss(self, model: Any, batch: Batch, step: int = 0, /) -> Tensor:
        """Return the mean over rows of the target's loss, or both losses, plus the disagreement."""
        mirror, known, there, weights = _apart(batch)
        prompts = [each.get("fusion_mask", each["attention_mask"]) for each in (batch, mirror)]
        own = read_written(model, batch, output_hidden_states=True)
        if not bool(there.any()):
            return mean_loss(own.losses, weights)
        other = read_written(model, mirror, output_hidden_states=True)
        losses = torch.where(known & there, SPANS * other.losses + (1 - SPANS) * own.losses, own.losses)
        states = [mean_state(_prompt_states(each), mask) for each, mask in zip((own, other), prompts, strict=True)]
        apart = (states[0] - states[1]).square().mean(-1)
        return mean_loss(losses + torch.where(there, apart, 0), weights)


class _MirrorCollator(PromptCollator):
    """A collator whose batches also have each row's mirror; an answer that is not known there is the row's own."""

    def __call__(self, rows: Sequence[PromptRow]) -> Batch:
        """Return prompts, answers and their mirrors."""
        pairs = [(row, row.mirror or row) for row in rows]
        mirror = super().__call__([_answered(mirror, mirror.answer, row.answer) for row, mirror in pairs])
        known = torch.tensor([mirror.answer is not None for _, mirror in pairs])
        return super().__call__(rows) | {MIRROR + name: tensor for name, tensor in mirror.items()} | {KNOWN: known}


def _answered(row: PromptRow, *answers: Numbers | None) -> PromptRow:
    """Return a row with the first of the answers that is known."""
    answer = next((each for each in answers if each is not None), None)
    return PromptRow(row.position, row.prompt, row.source, answer, row.label, row.latents)


def _apart(batch: Batch) -> tuple[Batch, Tensor, Tensor, Tensor | None]:
    """Take out of a batch its mirror, whose answer is known there, which rows have a source, and the rows' weights."""
    mirror = {name.removeprefix(MIRROR): batch.pop(name) for name in list(batch) if name.startswith(MIRROR)}
    return mirror, batch.pop(KNOWN), there_in(batch), batch.pop(WEIGHTS, None)


def _states(written: Written) -> Tensor:
    """Return the last states of what writes: [B,T,d] of a decoder-only model, [B,A,d] of a decoder."""
    output = written.output
    return (output.hidden_states if "hidden_states" in output else output.decoder_hidden_states)[-1]


def _prompt_states(written: Written) -> Tensor:
    """Return the last states of what reads the prompt [B,T,d]."""
    output = written.output
    return output.hidden_states[-1] if "hidden_states" in output else output.encoder_last_hidden_state
