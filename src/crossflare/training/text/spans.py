"""Extractive questions as rows of a `DataLoader`, one for each window, and batches of them."""

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
"""In the place of an answer's tokens: there is no labelled answer; no token stands for it."""


class SpanRow(NamedTuple):
    """One window of one question."""

    position: int
    """Its index in `SpanRows`."""
    example: int
    """Index of its question."""
    target: TextTokens
    source: TextTokens | None
    span: tuple[int, int] | None
    """Positions of the first and last token of the answer, both the null position where the answer is not, or not
    wholly, in this window; None: the question has no labelled span."""
    latents: tuple[Tensor, ...] | None = None
    """States [S,d_mt] of a translation encoder reading the question, and this window's share of the context."""
    source_span: tuple[int, int] | None = None
    """The same for the source, whose answers are seldom known; None without a source, too."""
    label: None = None
    clean: None = None


@dataclass(frozen=True, slots=True)
class SpanCounts:
    """What did not fit."""

    examples: int
    windows: int
    questions_cut: int
    """Questions longer than half of a window, which lost their end."""
    answers_lost: int
    """Labelled answers that no window holds whole."""
    sources_cut: int
    """Windows whose passage of the source is longer than the window and lost its end."""


@dataclass(frozen=True, slots=True)
class Texts:
    """One side of N examples: which of the distinct questions and contexts each has."""

    questions: Passages
    contexts: Passages
    question: Places
    """[N] index into `questions`."""
    context: Places
    """[N] index into `contexts`."""
    kept: Places
    """[N] tokens of the question that are kept."""

    def side(self, layout: Layout, example: int, begin: int, end: int) -> TextTokens:
        """Return one example's question with a piece of its context."""
        question = self.questions.ids[self.questions.slice(int(self.question[example]))]
        context = self.contexts.ids[self.contexts.slice(int(self.context[example]))]
        return layout.join(question[: self.kept[example]], context[begin:end])


class SpanRows(Sequence[SpanRow]):
    """The W windows of N questions, a data set for a `DataLoader`; windows of a question follow each other."""

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
        """[W] the question of each window, and its tokens of the context from `begin` to before `end`."""
        self.names: tuple[str, ...] = tuple(names[int(example)] for example in self.examples)
        """[W] the id of each window's question."""
        self.counts = counts
        self._layout, self._target, self._source, self._passages = layout, target, source, passages
        self._answers, self._source_answers = answers, source_answers
        kept = target.kept[self.examples]
        self.widths = layout.specials + kept + self.end - self.begin
        """[W] target tokens of each window, special ones included."""
        self.first = layout.first(kept)
        """[W] the position of the first context token."""
        self.null = layout.null(kept, self.widths)
        """[W] the position that stands for no answer in this window: that of the first special token."""

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
        """Return an answer's positions in a window that has the context from `begin` to before `end` at `first`."""
        start, last = answers[:, self.examples[index]].tolist()
        if start == UNLABELLED:
            return None
        if start < begin or last >= end:
            return null, null
        return start - begin + first, last - begin + first

    @property
    def lengths(self) -> Places:
        """[W] tokens of target and source together."""
        if self._source is None:
            return self.widths
        given = self._passages[0] >= 0
        source = self._layout.specials + self._source.kept[self.examples] + self._passages[1] - self._passages[0]
        return self.widths + np.where(given, source, 0)

    def offsets(self, index: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Return first and after-last code point of each context token in one window; equal for blank tokens."""
        start = int(self._target.contexts.starts[self._target.context[self.examples[index]]])
        where = slice(start + int(self.begin[index]), start + int(self.end[index]))
        return self._target.contexts.begin[where], self._target.contexts.end[where]

    def first_windows(self) -> Places:
        """Return [N] the index of each question's first window."""
        return np.flatnonzero(np.diff(self.examples, prepend=-1))


def matching_part(begin: Any, end: Any, total: Any, whole: Any) -> tuple[Any, Any]:
    """Return where the share from `begin` to `end` of `whole` tokens lies among `total` others."""
    length = np.maximum(whole, 1)
    return begin * total // length, np.where(whole > 0, -(-end * total // length), total)


IGNORED = -100
"""The position of an answer in a source that is not labelled."""


class SpanCollator:
    """Pads windows as `PairCollator` does, and adds the labelled positions when every row has them.

    Args:
        tokenizer: The tokenizer of the rows.
        window: Most tokens of a window, source windows included.
        with_source: Also pad the sources.
        source_spans: And give the labelled positions in them, `IGNORED` where there are none.
    """

    def __init__(self, tokenizer: Any, window: int = WINDOW, *, with_source: bool, source_spans: bool = False) -> None:
        self._pairs = PairCollator(tokenizer, window, with_source=with_source)
        self._source_spans = source_spans
        self._left = tokenizer.padding_side == "left"

    def __call__(self, items: Sequence[SpanRow]) -> dict[str, Tensor]:
        """Return `input_ids`, `attention_mask` [B,T], both for the source, `start_positions`, `end_positions` [B]."""
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
        """Return logits [B,T] of a batch as [B,width] with each row's own tokens first and -inf behind them."""
        whole = np.full((len(items), width), -np.inf, dtype=np.float32)
        for row, values in enumerate(logits.detach().float().cpu().numpy()):
            length = len(items[row].target.ids)
            whole[row, :length] = values[-length:] if self._left else values[:length]
        return whole
