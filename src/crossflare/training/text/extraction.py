"""From start and end logits to answers: the best span over all windows of a question."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crossflare.errors import UserError
from crossflare.tasks.example import Example
from crossflare.training.loop.batching import batches
from crossflare.training.loop.memory import Number
from crossflare.training.text.spans import SpanCollator, SpanRows
from crossflare.training.text.windows import Places

LONGEST_ANSWER = 30
CHUNK = 256
"""The number of windows whose spans are compared at once."""


class SpanAnswer(NamedTuple):
    """An answer that is a span of a context."""

    text: str
    start: int
    """The number of code points of the context before the answer."""
    end: int
    """The number of code points of the context up to the answer's end."""
    score: float
    """The log-probability of the answer in its window, where "not here" is also a candidate: at most 0."""


def span_logits(
    model: Any,
    rows: SpanRows,
    collate: SpanCollator,
    batch_size: int,
    precision: Number,
    description: str = "answering",
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the start and end logits [W,T] of a model with a question answering head, in evaluation mode.

    T is the length of the longest window. Each row begins with its own first token, whatever the padding side, and is
    -inf after its last. Windows of similar length share a batch, the longest first.
    """
    start, end = (np.full((len(rows), int(rows.widths.max(initial=1))), -np.inf, dtype=np.float32) for _ in range(2))
    for places, batch in batches(model, rows, collate, batch_size, precision, description):
        output = model(**{name: tensor for name, tensor in batch.items() if not name.endswith("_positions")})
        items = [rows[index] for index in places]
        start[places] = collate.unpad(items, output.start_logits, start.shape[1])
        end[places] = collate.unpad(items, output.end_logits, end.shape[1])
    return start, end


def first_window_positions(
    rows: SpanRows, start_logits: ArrayLike, end_logits: ArrayLike
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return predicted and labelled token positions [N,2] in each question's first window, for `position_match`.

    The prediction is the same as in the authors' code: the highest start and the highest end, each on its own, at any
    position. Questions without a label are labelled with the null position.
    """
    windows = rows.first_windows()
    predicted = np.stack([np.asarray(side)[windows].argmax(-1) for side in (start_logits, end_logits)], axis=1)
    spans = [rows.span(int(window)) or (int(rows.null[window]),) * 2 for window in windows]
    return predicted, np.array(spans, dtype=np.int64).reshape(-1, 2)


def best_answers(
    rows: SpanRows,
    start_logits: ArrayLike,
    end_logits: ArrayLike,
    examples: Sequence[Example],
    max_answer_tokens: int = LONGEST_ANSWER,
) -> list[SpanAnswer]:
    """Return the most probable span of each question over all of its windows.

    Start and end logits become log-probabilities over the window's context tokens and its null position: a window that
    says "not here" gives its spans little probability, and a constant added to a window's logits changes nothing. A
    span has both ends in the context, on tokens that are not blank, its start not after its end, and at most
    `max_answer_tokens` tokens. Of equal spans, the earlier window wins, then the earlier start, then the shorter one.

    Args:
        rows: The W windows.
        start_logits: The logits [W,T] from each window's first token on; see `span_logits`.
        end_logits: The same for the end.
        examples: The N questions that the rows were made from.
        max_answer_tokens: The most tokens of an answer.

    Returns:
        N answers, never empty unless a context has no token that is not blank.
    """
    assert len(examples) == rows.counts.examples, f"{len(examples)} questions for rows of {rows.counts.examples}"
    if max_answer_tokens < 1:
        raise UserError(f"expected answers of at least 1 token, got a limit of {max_answer_tokens}")
    if not len(rows):
        return []
    start, end = np.asarray(start_logits), np.asarray(end_logits)
    parts = [
        _best_spans(rows, np.arange(at, min(at + CHUNK, len(rows))), start, end, max_answer_tokens)
        for at in range(0, len(rows), CHUNK)
    ]
    scores, firsts, lasts = (np.concatenate(part) for part in zip(*parts, strict=True))
    order = np.lexsort((-scores, firsts < 0, rows.examples))
    answers: list[SpanAnswer] = []
    for window in order[np.flatnonzero(np.diff(rows.examples[order], prepend=-1))]:
        if firsts[window] < 0:
            answers.append(SpanAnswer("", 0, 0, float("-inf")))
            continue
        begins, ends = rows.offsets(int(window))
        begin, last = int(begins[firsts[window]]), int(ends[lasts[window]])
        context = examples[int(rows.examples[window])].texts[1]
        answers.append(SpanAnswer(context[begin:last], begin, last, float(scores[window])))
    return answers


def _best_spans(
    rows: SpanRows, windows: Places, start: NDArray[Any], end: NDArray[Any], limit: int
) -> tuple[NDArray[np.float64], Places, Places]:
    """Return the score, the first and the last context token of the best span in each window; -1 if there is none."""
    count = rows.end[windows] - rows.begin[windows]
    width = max(1, int(count.max()))
    solid = np.zeros((len(windows), width), dtype=bool)
    for row, window in enumerate(windows):
        begins, ends = rows.offsets(int(window))
        solid[row, : count[row]] = ends > begins
    inside = np.arange(width) < count[:, None]
    one, whole = _candidates(rows, windows, start, inside, solid)
    other, other_whole = _candidates(rows, windows, end, inside, solid)
    first = np.where(solid.any(-1), solid.argmax(-1), -1)
    last, best = first.copy(), np.full(len(windows), -np.inf)
    line = np.arange(len(windows))
    for longer in range(min(limit, width)):
        sums = one[:, : width - longer] + other[:, longer:]
        at = sums.argmax(-1)
        found = sums[line, at]
        better = (found > best) | ((found == best) & (found > -np.inf) & (at < first))
        best, first, last = (
            np.where(better, new, old) for new, old in ((found, best), (at, first), (at + longer, last))
        )
    return best - whole - other_whole, first, last  # subtracted last: rounding per span would break ties


def _candidates(
    rows: SpanRows, windows: Places, logits: NDArray[Any], inside: NDArray[np.bool_], solid: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the logits [C,n] of the context tokens, -inf for blank ones and NaN, and their total over candidates [C].

    The total is the log-sum-exp over the context's tokens and the null position, so logit minus total is a
    log-probability.
    """
    places = np.minimum(rows.first[windows][:, None] + np.arange(inside.shape[1]), logits.shape[1] - 1)
    values = np.where(inside, logits[windows[:, None], places].astype(np.float64), -np.inf)
    null = logits[windows, rows.null[windows]].astype(np.float64)
    largest = float(np.finfo(np.float32).max)  # the sum of two is still finite in float64
    every = np.nan_to_num(np.concatenate([null[:, None], values], axis=1), nan=-np.inf, posinf=largest, neginf=-np.inf)
    highest = np.maximum(every.max(-1, keepdims=True), np.finfo(np.float64).min)
    total = np.log(np.maximum(np.exp(every - highest).sum(-1, keepdims=True), np.finfo(np.float64).tiny)) + highest
    return np.where(solid, every[:, 1:], -np.inf), total[:, 0]
