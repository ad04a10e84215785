"""Texts longer than the model's window, read in windows: the tokens of each window.

A window is `[CLS] tokens [SEP]`, or whatever special tokens the tokenizer puts around a text. Every window is full: the
last one ends with the text and repeats `stride` or more tokens of the one before. A row with a source has as many
windows as the longer of its two sides. The k-th of n windows reads, on each side, the window at the same share of that
side's windows: both show about the same passage, and no part of either is left out.

A model trains on the first window, as when texts are cut: the label is for the whole text, and a later window may not
show the reason for it. The number of rows and steps and the balance of labels stay the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from crossflare.libraries.threads import call_tokenizer
from crossflare.tasks.example import Example
from crossflare.training.text.encoded import Encoded, EncodedRow, TextTokens, Tokens, encode_side
from crossflare.training.text.windows import Places


@dataclass(frozen=True, slots=True)
class _Side:
    """The target or the source of N rows: all of them cut, and the longer ones also whole."""

    cut: Tokens
    whole: Tokens
    """The M longer texts, including special tokens."""
    place: Places
    """The index [N] of each row in `whole`; -1: the row is not cut."""
    counts: Places
    """The number of windows of each row [N]; 1 if it is not cut."""
    before: int
    """The number of special tokens before a text."""
    after: int
    room: int
    """The number of text tokens in a window."""
    step: int
    """The number of tokens from the beginning of a window to that of the next."""

    def bounds(self, row: int, window: int) -> tuple[int, int, int]:
        """Return a window's begin and end in the text's tokens and the text's length, without special tokens."""
        place = int(self.place[row])
        if place < 0:
            return 0, 1, 1
        length = int(self.whole.lengths[place]) - self.before - self.after
        begin = min(window * self.step, length - self.room)
        return begin, begin + self.room, length

    def window(self, row: int, window: int) -> TextTokens | None:
        """Return one window of a row; None for a row without a text."""
        place = int(self.place[row])
        if place < 0:
            return self.cut[row]
        whole, (begin, end, _) = self.whole[place], self.bounds(row, window)
        assert whole is not None, "a longer text has tokens"
        size = len(whole.ids)
        kept = np.r_[: self.before, begin + self.before : end + self.before, size - self.after : size]
        return TextTokens(whole.ids[kept], None if whole.types is None else whole.types[kept])


class WindowRows(Sequence[EncodedRow]):
    """The W windows of N rows, a data set like `Encoded`; a window is built when it is read."""

    def __init__(self, rows: Encoded, target: _Side, source: _Side | None) -> None:
        self._rows, self._target, self._source = rows, target, source
        counts = target.counts if source is None else np.maximum(target.counts, source.counts)
        self.owners = np.repeat(np.arange(len(rows)), counts)
        """The row [W] that each window belongs to, in the rows' order."""
        self._number = np.arange(len(self.owners)) - np.repeat(np.cumsum(counts) - counts, counts)
        self._of = counts[self.owners]
        self.names = tuple(rows.names[owner] for owner in self.owners.tolist())
        self.counts = counts
        """The number of windows of each row [N]."""

    def __len__(self) -> int:
        return len(self.owners)

    def __getitem__(self, index: int) -> EncodedRow:  # type: ignore[override]  # one window at a time, never a slice
        row, number, of = int(self.owners[index]), int(self._number[index]), int(self._of[index])
        here = _at_share(number, of, int(self._target.counts[row]))
        target, source = self._target.window(row, here), None
        assert target is not None, "a row has a text"
        if self._source is not None:
            source = self._source.window(row, _at_share(number, of, int(self._source.counts[row])))
        latents = None
        if self._rows.latents is not None:
            bounds = self._target.bounds(row, here)
            latents = tuple(_passage(states, *bounds) for states in self._rows.latents[row])
        return EncodedRow(index, target, source, self._rows.labels[row], latents)

    @property
    def lengths(self) -> Places:
        """The number of tokens of each window [W], target and source together."""
        return self._rows.lengths[self.owners]  # each window is as long as the cut row


def in_windows(tokenizer: Any, examples: Sequence[Example], rows: Encoded, max_length: int, stride: int) -> WindowRows:
    """Return the windows of N encoded rows.

    Args:
        tokenizer: The tokenizer that encoded the rows.
        examples: The same rows as examples, with one text each.
        rows: The encoded rows, each side cut at `max_length`.
        max_length: The number of tokens of a window, including special ones.
        stride: The number of tokens that a window repeats from the one before, at most half of its own.
    """
    target = _side(tokenizer, [e.texts for e in examples], rows.target, max_length, stride)
    source = None
    if rows.source is not None:
        source = _side(tokenizer, [e.source or None for e in examples], rows.source, max_length, stride)
    return WindowRows(rows, target, source)


def _side(tokenizer: Any, texts: Sequence[tuple[str, ...] | None], cut: Tokens, max_length: int, stride: int) -> _Side:
    full = np.flatnonzero(cut.lengths >= max_length)  # longer, or exactly as long
    whole = encode_side(tokenizer, [texts[row] for row in full.tolist()], None, "tokenising long texts")
    longer = np.flatnonzero(whole.lengths > max_length)
    rows, (before, after) = full[longer], (0, 0)
    if len(rows):
        text = texts[int(rows[0])] or ()
        out = call_tokenizer(tokenizer, *text, truncation=True, max_length=max_length, return_special_tokens_mask=True)
        special: list[int] = out["special_tokens_mask"]
        before, after = special.index(0), special[::-1].index(0)
    place, counts = np.full(len(texts), -1), np.ones(len(texts), dtype=np.int64)
    room = max_length - before - after
    step = room - min(stride, room // 2)
    place[rows] = longer
    counts[rows] += -(-(whole.lengths[longer] - before - after - room) // step)
    return _Side(cut, whole, place, counts, before, after, room, step)


def _at_share(number: int, of: int, windows: int) -> int:
    """Return which of `windows` windows is at the same share as window `number` of `of`; last matches last."""
    return (2 * number * (windows - 1) + of - 1) // (2 * (of - 1)) if of > 1 else 0


def _passage(states: Tensor, begin: int, end: int, length: int) -> Tensor:
    """Return the states [S,d_mt] at the same share of a text as its tokens from `begin` to `end` of `length`."""
    number = len(states)
    return states[begin * number // length : -(-end * number // length)]
