"""Extractive questions as rows of a `DataLoader`, one for each window; `span_batches` makes batches of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from crossflare.errors import UserError
from crossflare.tasks.example import Example
from crossflare.training.collators import Latents, Side
from crossflare.training.windows import Layout, Passages, Places, answer_tokens, layout_of, tokenise

WINDOW, STRIDE = 384, 128
UNLABELLED, LOST = -2, -1
"""In the place of an answer's tokens: there is no labelled answer; no token stands for it."""


class SpanRow(NamedTuple):
    """One window of one question."""

    position: int
    """Its index in `SpanRows`."""
    example: int
    """Index of its question."""
    target: Side
    source: Side | None
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
    """Windows whose passage of the source is longer than a source window and lost its end."""


@dataclass(frozen=True, slots=True)
class _Texts:
    """One side of N examples: which of the distinct questions and contexts each has."""

    questions: Passages
    contexts: Passages
    question: Places
    """[N] index into `questions`."""
    context: Places
    """[N] index into `contexts`."""
    kept: Places
    """[N] tokens of the question that are kept."""

    def side(self, layout: Layout, example: int, begin: int, end: int) -> Side:
        question = self.questions.ids[self.questions.slice(int(self.question[example]))]
        context = self.contexts.ids[self.contexts.slice(int(self.context[example]))]
        return layout.join(question[: self.kept[example]], context[begin:end])


class SpanRows(Sequence[SpanRow]):
    """The W windows of N questions, a data set for a `DataLoader`; windows of a question follow each other."""

    def __init__(
        self,
        names: Sequence[str],
        layout: Layout,
        target: _Texts,
        source: _Texts | None,
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
        first, last = _share(self.begin[index], self.end[index], len(context), whole)
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


def encode_questions(
    tokenizer: Any,
    examples: Sequence[Example],
    *,
    window: int = WINDOW,
    stride: int = STRIDE,
    with_source: bool,
    source_window: int | None = None,
    latents: Latents | None = None,
) -> SpanRows:
    """Tokenise questions and contexts once each and cut the contexts into windows.

    A window's source is the source's question with the passage of the source context that stands at the same share of
    it as the window's piece does of the target context, so both show the same passage.

    Args:
        tokenizer: A fast transformers tokenizer.
        examples: N questions; their texts are (question, context).
        window: Most tokens of a window, special ones included. A question is cut to half of it; none is refused.
        stride: Tokens that a window repeats of the one before, at most two thirds of its piece of the context.
        with_source: Also tokenise `Example.source`, where there is one.
        source_window: Most tokens of a source; None: as `window`.
        latents: For FLARE MT, the states of a translation encoder for question and context of each example.

    Raises:
        UserError: The tokenizer is not fast or adds no special tokens, or the window is too small for any text.
    """
    for example in examples:
        if len(example.texts) != 2 or (example.source and len(example.source) != 2):
            raise UserError(f"{example.origin or example.id}: expected a question and its context; check the task")
    target = _distinct(tokenizer, [example.texts for example in examples], "tokenising")
    given = [example.source or None for example in examples]
    source = _distinct(tokenizer, given, "tokenising sources") if with_source and any(given) else None
    full = np.flatnonzero((target.kept > 0) & (target.contexts.lengths[target.context] > 0))
    layout = layout_of(tokenizer, *(examples[int(full[0])].texts if len(full) else ("a", "b")))
    wide, cut = _fitted(target, layout, window)
    lengths = wide.contexts.lengths[wide.context]
    windows = _windows(lengths, window - layout.specials - wide.kept, stride)
    passages, sources_cut = np.full((2, windows.shape[1]), -1), 0
    if source is not None:
        source, _ = _fitted(source, layout, source_window or window)
        passages, sources_cut = _passages(windows, lengths, source, (source_window or window) - layout.specials, given)
    answers = _answers(wide, examples)
    read = [replace(e, texts=e.source or (), answers=e.source_answers if e.source else ()) for e in examples]
    source_answers = _answers(wide if source is None else source, read if source is not None else [])
    whole = (answers[0, windows[0]] >= windows[1]) & (answers[1, windows[0]] < windows[2])
    lost = np.count_nonzero(answers[0] != UNLABELLED) - len(np.unique(windows[0, whole]))
    counts = SpanCounts(len(examples), windows.shape[1], cut, int(lost), sources_cut)
    return SpanRows(
        [e.id for e in examples], layout, wide, source, windows, passages, answers, source_answers, counts, latents
    )


def _answers(texts: _Texts, examples: Sequence[Example]) -> NDArray[np.int64]:
    """Return [2,N] the first and last context token of each labelled answer."""
    answers = np.full((2, len(texts.context)), UNLABELLED)
    for number, example in enumerate(examples):
        if any(answer.start is not None for answer in example.answers):
            answers[:, number] = answer_tokens(example, texts.contexts, int(texts.context[number])) or LOST
    return answers


def _distinct(tokenizer: Any, pairs: Sequence[tuple[str, ...] | None], description: str) -> _Texts:
    """Tokenise every distinct question and context once; an example without texts has index 0 and is never read."""
    columns: list[tuple[Passages, Places]] = []
    for part, name in enumerate(("questions", "contexts")):
        places: dict[str, int] = {}
        index = np.array([places.setdefault(pair[part], len(places)) if pair else 0 for pair in pairs], dtype=np.int64)
        columns.append((tokenise(tokenizer, list(places), f"{description} {name}"), index))
    (questions, question), (contexts, context) = columns
    return _Texts(questions, contexts, question, context, questions.lengths[question])


def _fitted(texts: _Texts, layout: Layout, window: int) -> tuple[_Texts, int]:
    """Return the texts with questions of at most half a window, and how many were longer."""
    half = (window - layout.specials) // 2
    if half < 1:
        raise UserError(
            f"a window of {window} tokens has no room beside {layout.specials} special ones; take a larger one"
        )
    kept = np.minimum(texts.kept, half)
    cut = int((texts.kept > half).sum())
    return _Texts(texts.questions, texts.contexts, texts.question, texts.context, kept), cut


def _windows(lengths: Places, room: Places, stride: int) -> NDArray[np.int64]:
    """Return [3,W] example, first and after-last context token of each window.

    Args:
        lengths: [N] tokens of the contexts.
        room: [N] context tokens that a window has room for, at least 1.
        stride: Tokens repeated.
    """
    if stride < 0:
        raise UserError(f"expected a stride of 0 or more tokens, got {stride}")
    step = room - np.minimum(stride, 2 * room // 3)
    count = 1 + np.maximum(0, -(-(lengths - room) // step))
    example = np.repeat(np.arange(len(lengths)), count)
    number = np.arange(len(example)) - np.repeat(np.cumsum(count) - count, count)
    begin = number * step[example]
    return np.stack([example, begin, np.minimum(begin + room[example], lengths[example])])


def _passages(
    windows: NDArray[np.int64], lengths: Places, source: _Texts, room: int, given: Sequence[Any]
) -> tuple[NDArray[np.int64], int]:
    """Return [2,W] the tokens of the source context that each window sees, -1 without one, and how many were cut.

    The passage begins at the token that holds the window's begin and ends with the one that holds its end, in shares of
    the whole: nothing falls between two windows.
    """
    example, begin, end = windows
    first, last = _share(begin, end, source.contexts.lengths[source.context][example], lengths[example])
    cut = last - first > room - source.kept[example]
    there = np.array([pair is not None for pair in given], dtype=bool)[example]
    passages = np.where(there, np.stack([first, np.minimum(last, first + room - source.kept[example])]), -1)
    return passages, int((cut & there).sum())


def _share(begin: Any, end: Any, total: Any, whole: Any) -> tuple[Any, Any]:
    """Return where the share from `begin` to `end` of `whole` tokens lies among `total` others."""
    length = np.maximum(whole, 1)
    return begin * total // length, np.where(whole > 0, -(-end * total // length), total)
