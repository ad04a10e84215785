"""From questions and contexts to windows: each text is tokenised once, contexts are cut, sources match."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossflare.errors import UserError
from crossflare.tasks.example import Example
from crossflare.training.text.encoded import Latents
from crossflare.training.text.spans import LOST, STRIDE, UNLABELLED, WINDOW, SpanCounts, SpanRows, Texts, matching_part
from crossflare.training.text.windows import Layout, Passages, Places, answer_tokens, layout_of, tokenise


def encode_questions(
    tokenizer: Any,
    examples: Sequence[Example],
    *,
    window: int = WINDOW,
    stride: int = STRIDE,
    with_source: bool,
    latents: Latents | None = None,
) -> SpanRows:
    """Tokenise each question and context once and cut the contexts into windows.

    A window's source is the source question with a passage of the source context. That passage is at the same share of
    its context as the window's piece of the target context, so both show the same passage.

    Args:
        tokenizer: A fast transformers tokenizer.
        examples: N questions, each with the texts (question, context).
        window: The most tokens of a window, including special ones. A longer question is cut to half of it.
        stride: The number of tokens that a window repeats from the one before, at most two thirds of its piece.
        with_source: Also tokenise `Example.source`, if there is one.
        latents: For FLARE MT, a translation encoder's states for the question and the context of each example.

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
        source, _ = _fitted(source, layout, window)
        passages, sources_cut = _passages(windows, lengths, source, window - layout.specials, given)
    answers = _answers(wide, examples)
    read = [replace(e, texts=e.source or (), answers=e.source_answers if e.source else ()) for e in examples]
    source_answers = _answers(wide if source is None else source, read if source is not None else [])
    whole = (answers[0, windows[0]] >= windows[1]) & (answers[1, windows[0]] < windows[2])
    lost = np.count_nonzero(answers[0] != UNLABELLED) - len(np.unique(windows[0, whole]))
    counts = SpanCounts(len(examples), windows.shape[1], cut, int(lost), sources_cut)
    return SpanRows(
        [e.id for e in examples], layout, wide, source, windows, passages, answers, source_answers, counts, latents
    )


def _answers(texts: Texts, examples: Sequence[Example]) -> NDArray[np.int64]:
    """Return the first and last context token of each labelled answer, [2,N]."""
    answers = np.full((2, len(texts.context)), UNLABELLED)
    for number, example in enumerate(examples):
        if any(answer.start is not None for answer in example.answers):
            answers[:, number] = answer_tokens(example, texts.contexts, int(texts.context[number])) or LOST
    return answers


def _distinct(tokenizer: Any, pairs: Sequence[tuple[str, ...] | None], description: str) -> Texts:
    """Tokenise every distinct question and context once; an example without texts has index 0, which is never read."""
    columns: list[tuple[Passages, Places]] = []
    for part, name in enumerate(("questions", "contexts")):
        places: dict[str, int] = {}
        index = np.array([places.setdefault(pair[part], len(places)) if pair else 0 for pair in pairs], dtype=np.int64)
        columns.append((tokenise(tokenizer, list(places), f"{description} {name}"), index))
    (questions, question), (contexts, context) = columns
    return Texts(questions, contexts, question, context, questions.lengths[question])


def _fitted(texts: Texts, layout: Layout, window: int) -> tuple[Texts, int]:
    """Return the texts with questions cut to half a window, and how many questions were longer."""
    half = (window - layout.specials) // 2
    if half < 1:
        raise UserError(
            f"a window of {window} tokens has no room beside {layout.specials} special ones; take a larger one"
        )
    return replace(texts, kept=np.minimum(texts.kept, half)), int((texts.kept > half).sum())


def _windows(lengths: Places, room: Places, stride: int) -> NDArray[np.int64]:
    """Return the example of each window, and its context tokens from begin to before end, [3,W].

    Args:
        lengths: The number of tokens of each context [N].
        room: The number of context tokens that fit in a window [N], at least 1.
        stride: The number of tokens that a window repeats.
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
    windows: NDArray[np.int64], lengths: Places, source: Texts, room: int, given: Sequence[Any]
) -> tuple[NDArray[np.int64], int]:
    """Return the begin and end of each window's passage of the source context, [2,W], and how many were cut.

    A window without a source has -1. In shares of the whole, the passage begins at the token that contains the window's
    begin and ends with the token that contains its end: no token falls between two windows.
    """
    example, begin, end = windows
    first, last = matching_part(begin, end, source.contexts.lengths[source.context][example], lengths[example])
    cut = last - first > room - source.kept[example]
    there = np.array([pair is not None for pair in given], dtype=bool)[example]
    passages = np.where(there, np.stack([first, np.minimum(last, first + room - source.kept[example])]), -1)
    return passages, int((cut & there).sum())
