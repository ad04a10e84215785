"""Answering questions: by the start and end of a span of the context, or by writing the answer after a prompt."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import MODEL_FOR_QUESTION_ANSWERING_MAPPING

from crossflare.tasks.example import Example
from crossflare.tasks.kinds import QuestionTask
from crossflare.training.forms.protocol import Answers
from crossflare.training.loop.batching import batches
from crossflare.training.loop.memory import Number
from crossflare.training.loop.state import Batch
from crossflare.training.text.encoded import Latents
from crossflare.training.text.extraction import best_answers, first_window_positions, span_logits
from crossflare.training.text.prompts import Prompter, PromptRows, encode_prompts, template_of
from crossflare.training.text.questions import encode_questions
from crossflare.training.text.spans import SpanCollator, SpanRows
from crossflare.training.text.writing import PromptCollator, written_loss


def answers_spans(model: Any) -> bool:
    """Return whether a model, without adapters, has the head for spans of the context."""
    kind: Any = MODEL_FOR_QUESTION_ANSWERING_MAPPING.get(type(model.config), None)
    return kind is not None and isinstance(model, kind)


class SpanForm:
    """A head over every token for the answer's start and one for its end; long contexts are read in windows."""

    labels = 0

    def __init__(self, tokenizer: Any, max_length: int, stride: int, answer_tokens: int, *, with_source: bool) -> None:
        self.tokenizer, self.window, self.stride, self.answer_tokens = tokenizer, max_length, stride, answer_tokens
        self.with_source, self.longest = with_source, max_length
        self.collate = SpanCollator(tokenizer, max_length, with_source=with_source)

    def encode(self, examples: Sequence[Example], latents: Latents | None = None) -> SpanRows:
        """Cut contexts into windows; see `Form`."""
        return encode_questions(
            self.tokenizer,
            examples,
            window=self.window,
            stride=self.stride,
            with_source=self.with_source,
            latents=latents,
        )

    def loss(self, model: Any, batch: Batch, step: int = 0, /) -> Tensor:
        """Return the mean cross-entropy of start and end over a window's own tokens."""
        start, end = batch.pop("start_positions"), batch.pop("end_positions")
        output = model(**batch)
        return span_losses(output.start_logits, output.end_logits, start, end, batch["attention_mask"]).mean()

    def read(
        self, model: Any, examples: Sequence[Example], rows: Any, batch_size: int, precision: Number, description: str
    ) -> Answers:
        """Return each question's best span over all of its windows."""
        logits = span_logits(model, rows, self.collate, batch_size, precision, description)
        found = best_answers(rows, *logits, examples, self.answer_tokens)
        labelled = bool(examples) and all(example.answers for example in examples)
        return Answers(
            tuple(answer.text for answer in found),
            tuple(answer.score for answer in found),
            first_window_positions(rows, *logits) if labelled else None,
            tuple((answer.start, answer.end) for answer in found),
        )

    def truncated(self, examples: Sequence[Example]) -> dict[str, int]:
        """Count the questions that are cut, and the windows whose source passage is cut."""
        rows = encode_questions(
            self.tokenizer, examples, window=self.window, stride=self.stride, with_source=self.with_source
        )
        return {"target": rows.counts.questions_cut, "source": rows.counts.sources_cut}


def span_losses(start_logits: Tensor, end_logits: Tensor, start: Tensor, end: Tensor, mask: Tensor) -> Tensor:
    """Return each row's mean cross-entropy of start and end [B], in float32.

    Args:
        start_logits: The start logits [B,T].
        end_logits: The end logits [B,T].
        start: The position of the span's first token [B].
        end: The position of its last token [B].
        mask: The mask [B,T]: 1 for the window's own tokens, which alone can be chosen.
    """
    closed = mask == 0
    losses = [
        functional.cross_entropy(
            logits.float().masked_fill(closed, torch.finfo(torch.float32).min), place, reduction="none"
        )
        for logits, place in ((start_logits, start), (end_logits, end))
    ]
    return (losses[0] + losses[1]) / 2


class TextForm:
    """A prompt, after which the model writes the answer by greedy decoding."""

    labels = 0

    def __init__(
        self,
        task: QuestionTask,
        model: Any,
        tokenizer: Any,
        max_length: int,
        answer_tokens: int,
        *,
        with_source: bool,
        padded: bool = False,
    ) -> None:
        self.encoder_decoder = bool(model.config.is_encoder_decoder)
        self.tokenizer, self.answer_tokens, self.with_source = tokenizer, answer_tokens, with_source
        self.prompter = Prompter(tokenizer, template_of(task), max_length, ends=self.encoder_decoder)
        self.longest = max_length + (0 if self.encoder_decoder else answer_tokens)
        self.collate = PromptCollator(model, tokenizer, self.longest if padded else 1)

    def encode(self, examples: Sequence[Example], latents: Latents | None = None) -> PromptRows:
        """Tokenise prompts and the first gold answers; see `Form`."""
        answers = [e.answers[0].text.strip() if e.answers else None for e in examples]
        return encode_prompts(self.prompter, examples, answers, with_source=self.with_source, latents=latents)

    def loss(self, model: Any, batch: Batch, step: int = 0, /) -> Tensor:
        """Return the mean cross-entropy of the answers' tokens."""
        return written_loss(model, batch)

    def read(
        self, model: Any, examples: Sequence[Example], rows: Any, batch_size: int, precision: Number, description: str
    ) -> Answers:
        """Return the answers that the model writes, with the mean log-probability of their tokens as scores."""
        texts, scores = [""] * len(rows), [0.0] * len(rows)
        for places, batch in batches(model, rows, self.collate.prompts, batch_size, precision, description):
            batch.pop("position_ids", None)  # generate computes its own
            written = model.generate(
                **batch,
                max_new_tokens=self.answer_tokens,
                do_sample=False,
                num_beams=1,
                pad_token_id=self.tokenizer.pad_token_id,
                eos_token_id=self.tokenizer.eos_token_id,
                return_dict_in_generate=True,
                output_logits=True,
            )
            answers = written.sequences[:, -len(written.logits) :]
            for place, ids, score in zip(places, answers.tolist(), self._scores(written.logits, answers), strict=True):
                texts[place] = self.tokenizer.decode(ids, skip_special_tokens=True).strip()
                scores[place] = score
        return Answers(tuple(texts), tuple(scores))

    def _scores(self, logits: Sequence[Tensor], answers: Tensor) -> list[float]:
        """Return the mean log-probability of each answer's tokens up to the end token."""
        steps = torch.stack(list(logits), 1).float().log_softmax(-1).gather(2, answers[..., None])[..., 0]
        ended = (answers == self.tokenizer.eos_token_id).long()
        own = ended.cumsum(1) - ended == 0
        return ((steps * own).sum(1) / own.sum(1)).tolist()

    def truncated(self, examples: Sequence[Example]) -> dict[str, int]:
        """Count the prompts whose texts are cut."""
        return self.prompter.count_cut(examples)
