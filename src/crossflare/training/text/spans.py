"""Extractive questions as rows for a `DataLoader`, one for each window, and their batches."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crossflare.training.text.collators import PairCollator
from crossflare.training.text.encoded import Latents, TextTokens
from crossflare.training.text.windows import Layout, Passages, Places

WINDOW, STRIDE = 384, 128


UNLABELLED, LOST = -2, -1
"""Values in place of an answer's tokens: there is no labelled answer; the labelled answer has no token."""


class SpanRow(NamedTuple):
    """One window of one question."""

    position: int
    """Its index in `SpanRows`."""
    example: int
    """The index of its question."""
    target: TextTokens
    source: TextTokens | None
    span: tuple[int, int] | None
    """The positions of the answer's first and last token; both are the null position if the answer is not, or not
    completely, in this window. None: the question has no labelled span."""
    latents: tuple[Tensor, ...] | None = None
    """The states [S,d_mt] of a translation encoder for the question, and for this window's share of the context."""
    source_span: tuple[int, int] | None = None
    """The same for the source, whose answers are rarely known; None also without a source."""
    label: None = None
    clean: None = None


@dataclass(frozen=True, slots=True)
class SpanCounts:
    """Counts of examples, windows, and what did not fit."""

    examples: int
    windows: int
    questions_cut: int
    """Questions longer than half of a window, whose end was cut."""
    answers_lost: int
    """Labelled answers that no window contains completely."""
    sources_cut: int
    """Windows whose source passage was longer than the window, and whose end was cut."""


@dataclass(frozen=True, slots=True)
class Texts:
    """One side of N examples: the distinct questions and contexts, and which of them each example has."""

    questions: Passages
    contexts: Passages
    question: Places
    """The index [N] into `questions`."""
    context: Places
    """The index [N] into `contexts`."""
    kept: Places
    """The number of the question's tokens that are kept [N]."""

    def side(self, layout: Layout, example: int, begin: int, end: int) -> TextTokens:
        """Return one example's question with a piece of its context."""
        question = self.questions.ids[self.questions.slice(int(self.question[example]))]
        context = self.contexts.ids[self.contexts.slice(int(self.context[example]))]
        return layout.join(question[: self.kept[example]], context[begin:end])


class SpanRows(Sequence[SpanRow]):
    """The W windows of N questions, a data set for a `DataLoader`; the windows of a question are consecutive."""

    def __init__(
        self,
        names: Sequence[str],
        layout: Layout,
        target: Texts,
        source: Texts | None,
        windows: NDArray[np.int64],
        passages: NDArray[np.int64],
        answers: NDArray[np.int64],
        source_answers: NDArray[np.int64],
        counts: SpanCounts,
        latents: Latents | None = None,
    ) -> None:
        self.latents = latents
        self.examples, self.begin, self.end = windows
        """The question of each window [W], and its context tokens from `begin` to before `end`."""
        self.names: tuple[str, ...] = tuple(names[int(example)] for example in self.examples)
        """The id of each window's question [W]."""
        self.counts = counts
        self._layout, self._target, self._source, self._passages = layout, target, source, passages
        self._answers, self._source_answers = answers, source_answers
        kept = target.kept[self.examples]
        self.widths = layout.specials + kept + self.end - self.begin
        """The number of target tokens of each window [W], including special ones."""
        self.first = layout.first(kept)
        """The position of the first context token [W]."""
        self.null = layout.null(kept, self.widths)
        """The position that means "no answer in this window" [W]: that of the first special token."""

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> SpanRow:  # type: ignore[override]  # one row at a time, never a slice
        example = int(self.examples[index])
        target = self._target.side(self._layout, example, int(self.begin[index]), int(self.end[index]))
        source = None
        if self._source is not None and self._passages[0, index] >= 0:
            source = self._source.side(self._layout, example, *self._passages[:, index].tolist())
        return SpanRow(
            index, example, target, source, self.span(index), self._states(index), self._source_span(index)
        )  # fmt: skip

    def _states(self, index: int) -> tuple[Tensor, ...] | None:
        if self.latents is None:
            return None
        question, context = self.latents[int(self.examples[index])]
        whole = int(self._target.contexts.lengths[self._target.context[self.examples[index]]])
        first, last = matching_part(self.begin[index], self.end[index], len(context), whole)
        return question, context[int(first) : int(last)]

    def span(self, index: int) -> tuple[int, int] | None:
        """Return the labelled positions in one window; see `SpanRow.span`."""
        piece = int(self.begin[index]), int(self.end[index])
        return self._located(self._answers, index, *piece, int(self.first[index]), int(self.null[index]))

    def _source_span(self, index: int) -> tuple[int, int] | None:
        begin, end = self._passages[:, index].tolist()
        if self._source is None or begin < 0:
            return None
        kept = self._source.kept[self.examples[index]]
        null = self._layout.null(kept, self._layout.specials + kept + end - begin)
        return self._located(self._source_answers, index, begin, end, int(self._layout.first(kept)), int(null))

    def _located(
        self, answers: NDArray[np.int64], index: int, begin: int, end: int, first: int, null: int
    ) -> tuple[int, int] | None:
        """Return an answer's positions in a window whose context tokens `begin` to before `end` start at `first`."""
        start, last = answers[:, self.examples[index]].tolist()
        if start == UNLABELLED:
            return None
        if start < begin or last >= end:
            return null, null
        return start - begin + first, last - begin + first

    @property
    def lengths(self) -> Places:
        """The number of tokens of each window [W], target and source together."""
        if self._source is None:
            return self.widths
        given = self._passages[0] >= 0
        source = self._layout.specials + self._source.kept[self.examples] + self._passages[1] - self._passages[0]
        return self.widths + np.where(given, source, 0)

    def offsets(self, index: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Return the begin and end code points of each context token in one window; equal for blank tokens."""
        start = int(self._target.contexts.starts[self._target.context[self.examples[index]]])
        where = slice(start + int(self.begin[index]), start + int(self.end[index]))
        return self._target.contexts.begin[where], self._target.contexts.end[where]

    def first_windows(self) -> Places:
        """Return the index of each question's first window [N]."""
        return np.flatnonzero(np.diff(self.examples, prepend=-1))


def matching_part(begin: Any, end: Any, total: Any, whole: Any) -> tuple[Any, Any]:
    """Return where the tokens `begin` to `end` of `whole` lie, in the same shares, among `total` others."""
    length = np.maximum(whole, 1)
    return begin * total // length, np.where(whole > 0, -(-end * total // length), total)


IGNORED = -100
"""The position that stands for an answer in a source without a label."""


class SpanCollator:
    """A collator that pads windows as `PairCollator` does, and adds the labelled positions when every row has them.

    Args:
        tokenizer: The tokenizer of the rows.
        window: The most tokens of a window, also of a source window.
        with_source: Also pad the sources.
        source_spans: Also return the labelled positions in the sources, `IGNORED` if there are none.
    """

    def __init__(self, tokenizer: Any, window: int = WINDOW, *, with_source: bool, source_spans: bool = False) -> None:
        self._pairs = PairCollator(tokenizer, window, with_source=with_source)
        self._source_spans = source_spans
        self._left = tokenizer.padding_side == "left"

    def __call__(self, items: Sequence[SpanRow]) -> dict[str, Tensor]:
        """Return `input_ids`, `attention_mask` [B,T], the same for sources, `start_positions`, `end_positions` [B]."""
        rows: Any = items
        batch = self._pairs(rows)
        if all(row.span is not None for row in items):
            batch |= self._positions("", batch, [(row.target, row.span) for row in items])
        if self._source_spans and "source_input_ids" in batch:
            batch |= self._positions("source_", batch, [(row.source, row.source_span) for row in items])
        return batch

    def _positions(
        self, prefix: str, batch: dict[str, Tensor], spans: Sequence[tuple[TextTokens | None, tuple[int, int] | None]]
    ) -> dict[str, Tensor]:
        width = batch[f"{prefix}input_ids"].shape[1]
        shifts = [width - len(side.ids) if self._left and side is not None else 0 for side, _ in spans]
        places = torch.tensor(
            [
                (IGNORED, IGNORED) if span is None else (span[0] + shift, span[1] + shift)
                for (_, span), shift in zip(spans, shifts, strict=True)
            ]
        )
        return {f"{prefix}start_positions": places[:, 0], f"{prefix}end_positions": places[:, 1]}

    def unpad(self, items: Sequence[SpanRow], logits: Tensor, width: int) -> NDArray[np.float32]:
        """Return a batch's logits [B,T] as [B,width], with each row's own tokens first and -inf after them."""
        whole = np.full((len(items), width), -np.inf, dtype=np.float32)
        for row, values in enumerate(logits.detach().float().cpu().numpy()):
            length = len(items[row].target.ids)
            whole[row, :length] = values[-length:] if self._left else values[:length]
        return whole
