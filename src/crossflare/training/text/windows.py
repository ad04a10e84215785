"""Questions with long contexts as windows: question and context are tokenised once, a window is built when it is read.

A window is the tokenizer's own pair of texts, `[CLS] question [SEP] piece of the context [SEP]` or whatever special
tokens it has. The pieces are those that a fast tokenizer gives for `truncation="only_second"` with a `stride`: each
repeats the last `stride` tokens of the one before.

Tokenizers that strip accents (BERT's uncased ones, MiniLM's) give no token the vowel and tone marks of Thai, Hindi or
Arabic. If an answer ended where its last token does, it would lose these marks: its last written sign would change.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import regex
from numpy.typing import NDArray

from crossflare.errors import UserError
from crossflare.libraries.threads import call_tokenizer
from crossflare.progress import bar
from crossflare.tasks.example import Example
from crossflare.training.text.encoded import Numbers, TextTokens

Places = NDArray[np.int64]
CHUNK_OF_SIGNS = 500_000
"""Code points given to the tokenizer at once: its offsets are Python objects, about a hundred bytes per token."""


@dataclass(frozen=True, slots=True)
class Passages:
    """The tokens of M different texts, end to end, without special tokens."""

    ids: Numbers
    begin: Numbers
    """The first code point of each token in its text. Blanks around a token, such as SentencePiece's, are not counted;
    marks that the tokenizer strips belong to the sign that they are written on."""
    end: Numbers
    """The code point after each token's last; equal to `begin` for a token of blanks alone."""
    starts: Places
    """The index [M+1] where each text begins."""

    def slice(self, text: int) -> slice:
        """Return where the tokens of one text are."""
        return slice(int(self.starts[text]), int(self.starts[text + 1]))

    @property
    def lengths(self) -> Places:
        """The number of tokens of each text [M]."""
        return np.diff(self.starts)


class Layout(NamedTuple):
    """The special tokens that a tokenizer puts around a question and a context."""

    before: TextTokens
    between: TextTokens
    after: TextTokens
    question_type: int
    context_type: int

    @property
    def specials(self) -> int:
        """The number of special tokens."""
        return len(self.before.ids) + len(self.between.ids) + len(self.after.ids)

    def first(self, question: Places) -> Places:
        """Return the position of the first context token after a question of `question` tokens."""
        return question + len(self.before.ids) + len(self.between.ids)

    def null(self, question: Places, length: Places) -> Places:
        """Return the position that means "no answer here": that of the first special token.

        Args:
            question: The number of tokens of the question.
            length: The number of tokens of the whole window.
        """
        if len(self.before.ids):
            return np.zeros_like(question)
        return question if len(self.between.ids) else length - len(self.after.ids)

    def join(self, question: Numbers, context: Numbers) -> TextTokens:
        """Return one window."""
        parts = (self.before.ids, question, self.between.ids, context, self.after.ids)
        if self.before.types is None or self.between.types is None or self.after.types is None:
            return TextTokens(np.concatenate(parts), None)
        types = (
            self.before.types,
            np.full(len(question), self.question_type, dtype=np.int32),
            self.between.types,
            np.full(len(context), self.context_type, dtype=np.int32),
            self.after.types,
        )
        return TextTokens(np.concatenate(parts), np.concatenate(types))


def layout_of(tokenizer: Any, question: str, context: str) -> Layout:
    """Return the special tokens that the tokenizer puts around this pair; they are the same for all pairs.

    Raises:
        UserError: The tokenizer is not fast, makes no tokens of the texts, or adds no special token.
    """
    if not tokenizer.is_fast:
        raise UserError("extractive answers need a fast tokenizer, which knows where in the text a token is; load one")
    out = call_tokenizer(tokenizer, question, context, verbose=False)
    ids = np.asarray(out["input_ids"], dtype=np.int32)
    types = np.asarray(out["token_type_ids"], dtype=np.int32) if "token_type_ids" in out else None
    owners = out.sequence_ids(0)
    if 0 not in owners or 1 not in owners:
        raise UserError(f"the tokenizer makes no tokens of {question!r:.40} or {context!r:.40}; check the tokenizer")
    edges = [owners.index(0), len(owners) - owners[::-1].index(0), owners.index(1), len(owners) - owners[::-1].index(1)]
    before, between, after = (
        TextTokens(ids[part], None if types is None else types[part])
        for part in (slice(edges[0]), slice(edges[1], edges[2]), slice(edges[3], None))
    )
    kinds = (0, 0) if types is None else (int(types[edges[0]]), int(types[edges[2]]))
    layout = Layout(before, between, after, *kinds)
    if not layout.specials:
        raise UserError(
            "the tokenizer adds no special tokens, so a window without the answer has nowhere to point; answer by"
            " generation, or take an encoder's tokenizer"
        )
    return layout


def tokenise(tokenizer: Any, texts: Sequence[str], description: str) -> Passages:
    """Tokenise M single texts, a limited number of code points at a time."""
    ids: list[Numbers] = []
    begins: list[Numbers] = []
    ends: list[Numbers] = []
    lengths = [0]
    with bar(description, len(texts)) as done:
        for chunk in _chunks(texts):
            out = call_tokenizer(
                tokenizer,
                chunk,
                add_special_tokens=False,
                return_offsets_mapping=True,
                return_attention_mask=False,
                return_token_type_ids=False,
                verbose=False,
            )
            for text, tokens, offsets in zip(chunk, out["input_ids"], out["offset_mapping"], strict=True):
                pairs = np.asarray(offsets, dtype=np.int32).reshape(-1, 2)
                begin, end = _trimmed(text, pairs[:, 0], pairs[:, 1])
                ids.append(np.asarray(tokens, dtype=np.int32))
                begins.append(begin)
                ends.append(end)
                lengths.append(len(tokens))
            done(len(chunk))
    empty = [np.zeros(0, dtype=np.int32)]
    return Passages(
        np.concatenate(ids or empty), np.concatenate(begins or empty), np.concatenate(ends or empty), np.cumsum(lengths)
    )


def _chunks(texts: Sequence[str]) -> Sequence[list[str]]:
    chunks: list[list[str]] = []
    size = 0
    for text in texts:
        if not chunks or size + len(text) > CHUNK_OF_SIGNS:
            chunks.append([])
            size = 0
        chunks[-1].append(text)
        size += len(text)
    return chunks


def _trimmed(text: str, begin: Numbers, end: Numbers) -> tuple[Numbers, Numbers]:
    """Return the tokens' begins and ends, extended to whole written signs, without blanks on either side.

    Neither begins nor ends ever decrease from token to token.
    """
    solid = np.array([not sign.isspace() for sign in text], dtype=bool)
    place = np.arange(len(text) + 1, dtype=np.int32)
    # For every place: the next code point at or after it that is not blank, and the end of the last such one before it.
    following = np.minimum.accumulate(np.where(np.append(solid, True), place, len(text))[::-1])[::-1]
    preceding = np.maximum.accumulate(np.where(np.insert(solid, 0, True), place, 0))
    begin, end = following[begin], preceding[end]
    there = end > begin
    begin[there], end[there] = whole_signs(text, begin[there], end[there])
    end = np.maximum.accumulate(np.where(there, end, 0))
    begin = np.where(there, begin, end)
    return np.minimum.accumulate(begin[::-1])[::-1].astype(np.int32), end.astype(np.int32)


def answer_tokens(example: Example, passages: Passages, text: int) -> tuple[int, int] | None:
    """Return the first and last context token of the first gold answer that is a span; None if there is none."""
    context = example.texts[1]
    for answer in example.answers:
        if answer.start is None:
            continue
        last = answer.start + len(answer.text.rstrip())
        first = last - len(answer.text.strip())
        assert context[first:last] == answer.text.strip(), f"question '{example.id}': the reader checks offsets"
        where = passages.slice(text)
        begin = int(np.searchsorted(passages.end[where], first, side="right"))
        end = int(np.searchsorted(passages.begin[where], last, side="left")) - 1
        return (begin, end) if begin <= end else None
    return None


_SIGN = regex.compile(r"\X")


def whole_signs(text: str, begin: "Numbers", end: "Numbers") -> "tuple[Numbers, Numbers]":
    """Return the tokens' begins and ends such that a code point without a token joins the token in its written sign.

    A sign is an extended grapheme cluster (Unicode Standard Annex 29). If a sign has two tokens, the first one gets the
    code point.

    Args:
        text: The text.
        begin: The first code point of each token [T]; no token is empty.
        end: The code point after each token's last [T].
    """
    bare = _bare(text, begin, end)
    if not bare.any():
        return begin, end
    edges = np.array([0, *(match.end() for match in _SIGN.finditer(text))])
    place = np.arange(len(text) + 1)
    sign_begin = edges[np.searchsorted(edges, place, side="right") - 1]
    sign_end = edges[np.minimum(np.searchsorted(edges, place, side="right"), len(edges) - 1)]
    # For every place: the next code point at or after it that has a token.
    taken = np.minimum.accumulate(np.where(np.append(bare, False), len(text), place)[::-1])[::-1]
    end = np.maximum(end, np.minimum(sign_end[end - 1], taken[end])).astype(end.dtype)
    bare = _bare(text, begin, end)
    free = np.maximum.accumulate(np.where(np.insert(bare, 0, False), 0, place))  # the end of the last that is not bare
    return np.minimum(begin, np.maximum(sign_begin[begin], free[begin])).astype(begin.dtype), end


def _bare(text: str, begin: "Numbers", end: "Numbers") -> NDArray[Any]:
    """Return which code points are neither blank nor covered by a token."""
    depth = np.zeros(len(text) + 1, dtype=np.int64)
    np.add.at(depth, begin, 1)
    np.add.at(depth, end, -1)
    blank = np.array([sign.isspace() for sign in text], dtype=bool)
    return (depth.cumsum()[:-1] == 0) & ~blank
