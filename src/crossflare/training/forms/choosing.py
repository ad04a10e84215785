"""Choosing one of K labels: by a classification head, or by the first token of the label's word after a prompt."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from crossflare.errors import UserError, choose
from crossflare.tasks.example import Example
from crossflare.tasks.kinds import TextTask
from crossflare.training.forms.joining import Annealing, machine_made
from crossflare.training.forms.protocol import Choices, choices
from crossflare.training.loop.balance import WEIGHTS, mean_loss
from crossflare.training.loop.batching import batches, in_order
from crossflare.training.loop.memory import Number
from crossflare.training.loop.state import Batch
from crossflare.training.text.collators import PairCollator
from crossflare.training.text.encoded import Encoded, Latents, count_truncated, encode
from crossflare.training.text.long_texts import in_windows
from crossflare.training.text.prompts import Prompter, PromptRows, encode_prompts, template_of
from crossflare.training.text.windows import Places
from crossflare.training.text.writing import PromptCollator, first_logits, written_loss


class HeadForm:
    """A classification head over the texts.

    With `annealing`, training rows choose between their two sources. With a `stride`, texts longer than `max_length`
    are read in windows (see `long_texts`); without one, and in training, they are cut.
    """

    def __init__(
        self,
        task: TextTask,
        tokenizer: Any,
        max_length: int,
        *,
        with_source: bool,
        annealing: Annealing | None = None,
        padded: bool = False,
        stride: int | None = None,
    ) -> None:
        self.labels, self.longest, self.stride = len(task.labels), max_length, stride
        self.tokenizer, self.max_length, self.with_source = tokenizer, max_length, with_source
        self.annealing = annealing
        width = max_length if padded else 8
        self.collate = PairCollator(tokenizer, max_length, with_source=with_source, multiple_of=width)

    def encode(self, examples: Sequence[Example], latents: Latents | None = None) -> Encoded:
        """Tokenise the texts; see `Form`."""
        return encode(
            self.tokenizer,
            examples,
            self.max_length,
            with_source=self.with_source,
            with_clean=self.annealing is not None,
            latents=latents,
        )

    def loss(self, model: Any, batch: Batch, step: int = 0, /) -> Tensor:
        """Return the mean cross-entropy."""
        batch = self.given(batch, step)
        labels, weights = batch.pop("labels"), batch.pop(WEIGHTS, None)
        logits = model(**batch).logits.float()
        if weights is None:
            return functional.cross_entropy(logits, labels)
        return mean_loss(functional.cross_entropy(logits, labels, reduction="none"), weights)

    def read(
        self, model: Any, examples: Sequence[Example], rows: Any, batch_size: int, precision: Number, description: str
    ) -> Choices:
        """Return the head's choices."""
        parts: list[tuple[list[int], Tensor]] = []
        owners = None
        if self.stride is not None:
            rows = in_windows(self.tokenizer, examples, rows, self.max_length, self.stride)
            owners = rows.owners
        for places, batch in batches(model, rows, self.collate, batch_size, precision, description):
            batch.pop("labels", None)
            output = model(**machine_made(batch))
            parts.append((places, _both(output.logits, getattr(output, "source_logits", None))))
        return _choices(parts, owners)

    def given(self, batch: Batch, step: int) -> Batch:
        """Return a training batch with the sources for this step."""
        return batch if self.annealing is None else self.annealing.pick(batch, step)

    def truncated(self, examples: Sequence[Example]) -> dict[str, int]:
        """Count the texts that are cut: none if they are read in windows."""
        if self.stride is not None:
            return {"target": 0, "source": 0}
        return count_truncated(self.tokenizer, examples, self.max_length)


class WordForm:
    """A prompt that the label's word follows; the choice compares the first tokens of the K words.

    Raises:
        UserError: Two labels' words begin with the same token, which cannot tell them apart; or a word has no label.
    """

    def __init__(
        self,
        task: TextTask,
        model: Any,
        tokenizer: Any,
        max_length: int,
        words: dict[str, str],
        *,
        with_source: bool,
        padded: bool = False,
    ) -> None:
        for label in words:
            choose("label in task.words", label, task.labels)
        self.labels = len(task.labels)
        self.encoder_decoder = bool(model.config.is_encoder_decoder)
        self.prompter = Prompter(tokenizer, template_of(task), max_length, ends=self.encoder_decoder)
        self.words = [words.get(label, label) for label in task.labels]
        self.with_source = with_source
        self.first = torch.tensor([int(self.prompter.answer(word)[0]) for word in self.words])
        for place, token in enumerate(self.first.tolist()):
            twin = self.first.tolist().index(token)
            if twin != place:
                raise UserError(
                    f"the labels '{self.words[twin]}' and '{self.words[place]}' begin with the same token "
                    f"{tokenizer.convert_ids_to_tokens(token)!r}, so the first one tells nothing; give them other "
                    "words (task.words), or use form: head"
                )
        answers = 0 if self.encoder_decoder else max(len(self.prompter.answer(word)) for word in self.words)
        self.longest = max_length + answers
        self.collate = PromptCollator(model, tokenizer, self.longest if padded else 1)

    def encode(self, examples: Sequence[Example], latents: Latents | None = None) -> PromptRows:
        """Tokenise prompts and the labels' words; see `Form`."""
        answers = [None if e.label is None else self.words[e.label] for e in examples]
        return encode_prompts(self.prompter, examples, answers, with_source=self.with_source, latents=latents)

    def loss(self, model: Any, batch: Batch, step: int = 0, /) -> Tensor:
        """Return the mean cross-entropy of the words' tokens, over the whole vocabulary."""
        return written_loss(model, batch)

    def read(
        self, model: Any, examples: Sequence[Example], rows: Any, batch_size: int, precision: Number, description: str
    ) -> Choices:
        """Return the choices by the words' first tokens."""
        parts: list[tuple[list[int], Tensor]] = []
        for places, batch in batches(model, rows, self.collate.prompts, batch_size, precision, description):
            logits, source = first_logits(model, batch)
            words = self.first.to(logits.device)
            parts.append((places, _both(logits[:, words], None if source is None else source[:, words])))
        return _choices(parts)

    def truncated(self, examples: Sequence[Example]) -> dict[str, int]:
        """Count the prompts whose texts are cut."""
        return self.prompter.count_cut(examples)


def _both(fused: Tensor, source: Tensor | None) -> Tensor:
    """Return the fused logits and the source's (or NaN) as [B,2,K], float32, on the CPU."""
    fused = fused.float().cpu()
    return torch.stack([fused, torch.full_like(fused, torch.nan) if source is None else source.float().cpu()], 1)


def _choices(parts: Sequence[tuple[list[int], Tensor]], owners: Places | None = None) -> Choices:
    both = in_order(parts)
    return choices(both[:, 0], both[:, 1], owners)
