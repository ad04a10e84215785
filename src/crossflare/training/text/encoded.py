"""From examples to numbers: every text is tokenised once, and all tokens are stored end to end."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from crossflare.errors import UserError
from crossflare.libraries.threads import call_tokenizer
from crossflare.progress import bar
from crossflare.tasks.example import Example

Numbers = NDArray[np.int32]
Latents = Sequence[tuple[Tensor, ...]]
"""For each example, the states [S,d_mt] of a translation encoder, one tensor for each of its texts."""
CHUNK = 1000
"""The number of examples given to the tokenizer at once."""


class TextTokens(NamedTuple):
    """One text, or one pair of texts, as tokens, including special ones."""

    ids: Numbers
    """The token ids, [T] or, for a source, [S]."""
    types: Numbers | None
    """The token types in the same shape, if the tokenizer makes them."""


class EncodedRow(NamedTuple):
    """One tokenised example."""

    position: int
    """Its index in `Encoded`."""
    target: TextTokens
    source: TextTokens | None
    label: int | None
    latents: tuple[Tensor, ...] | None = None
    """The states [S,d_mt] of a translation encoder for each of the target's texts."""
    clean: TextTokens | None = None
    """The labelled text that a machine-translated source replaces."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of one side of all N examples, end to end: four bytes per token instead of a Python object."""

    ids: Numbers
    types: Numbers | None
    starts: NDArray[np.int64]
    """The index [N+1] where each example begins; an example without text is empty."""

    def __getitem__(self, index: int) -> TextTokens | None:
        begin, end = self.starts[index], self.starts[index + 1]
        if begin == end:
            return None
        return TextTokens(self.ids[begin:end], None if self.types is None else self.types[begin:end])

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The number of tokens of each example [N]."""
        return np.diff(self.starts)


class Encoded(Sequence[EncodedRow]):
    """N tokenised examples, a data set for a `DataLoader`."""

    def __init__(
        self,
        names: Sequence[str],
        target: Tokens,
        source: Tokens | None,
        labels: Sequence[int | None],
        latents: Latents | None = None,
        clean: Tokens | None = None,
    ) -> None:
        self.names = tuple(names)
        """The ids of the examples."""
        self.target, self.source, self.labels, self.latents = target, source, tuple(labels), latents
        self.clean = clean

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> EncodedRow:  # type: ignore[override]  # one row at a time, never a slice
        target = self.target[index]
        if target is None:
            raise IndexError(index)
        source = None if self.source is None else self.source[index]
        latents = None if self.latents is None else self.latents[index]
        clean = None if self.clean is None else self.clean[index]
        return EncodedRow(index, target, source, self.labels[index], latents, clean)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The number of tokens of each row [N], target and source together; of two sources, the longer counts."""
        sources = [side.lengths for side in (self.source, self.clean) if side is not None]
        return self.target.lengths + np.max(sources, axis=0) if sources else self.target.lengths


def encode(
    tokenizer: Any,
    examples: Sequence[Example],
    max_length: int,
    *,
    with_source: bool,
    with_clean: bool = False,
    latents: Latents | None = None,
) -> Encoded:
    """Tokenise every example once; in a pair, the longer text is cut first.

    Args:
        tokenizer: A transformers tokenizer.
        examples: N examples with one or two texts, and as many source texts.
        max_length: The most tokens of a side, including special ones.
        with_source: Also tokenise `Example.source`, if there is one.
        with_clean: Also tokenise `Example.clean_source`; if there is none, `source` takes its place.
        latents: For FLARE MT, the states of a translation encoder.

    Raises:
        UserError: An example has no text or more than two, its source has another number, or its target has no tokens.
    """
    assert latents is None or len(latents) == len(examples), f"{len(latents)} latents for {len(examples)} examples"
    for example in examples:
        _check_texts(example, example.source if with_source else None)
    target = encode_side(tokenizer, [e.texts for e in examples], max_length, "tokenising")
    for example, length in zip(examples, target.lengths, strict=True):
        if not length:
            raise UserError(f"{_where(example)}: no tokens in {example.texts!r:.80}; give it text or drop the row")
    source = None
    if with_source and any(example.source for example in examples):
        source = encode_side(tokenizer, [e.source or None for e in examples], max_length, "tokenising sources")
    clean = None
    if source is not None and with_clean and any(example.clean_source for example in examples):
        texts = [e.clean_source or e.source or None for e in examples]
        clean = encode_side(tokenizer, texts, max_length, "tokenising clean sources")
    return Encoded([e.id for e in examples], target, source, [e.label for e in examples], latents, clean)


def count_truncated(tokenizer: Any, examples: Sequence[Example], max_length: int) -> dict[str, int]:
    """Return how many targets and how many sources are longer than `max_length` tokens."""
    sides = {"target": [e.texts for e in examples], "source": [e.source or None for e in examples]}
    return {
        side: int((encode_side(tokenizer, texts, None, f"measuring {side} texts").lengths > max_length).sum())
        for side, texts in sides.items()
    }


def _where(example: Example) -> str:
    return f"{example.origin}: example '{example.id}'" if example.origin else f"example '{example.id}'"


def _check_texts(example: Example, source: tuple[str, ...] | None) -> None:
    count = len(example.texts)
    if count not in (1, 2):
        raise UserError(f"{_where(example)}: expected one or two texts, got {count}; correct it")
    if source and len(source) != count:
        raise UserError(
            f"{_where(example)}: expected as many source texts as texts, {count}, got {len(source)}; correct it"
        )


def encode_side(
    tokenizer: Any, texts: Sequence[tuple[str, ...] | None], max_length: int | None, description: str
) -> Tokens:
    """Tokenise one side of N examples, cut at `max_length` tokens or whole; an example without texts has no tokens."""
    cut: dict[str, Any] = {} if max_length is None else {"truncation": "longest_first", "max_length": max_length}
    lengths = np.zeros(len(texts), dtype=np.int64)
    ids: list[Numbers] = []
    types: list[Numbers] = []
    with bar(description, len(texts)) as done:
        for begin in range(0, len(texts), CHUNK):
            present = [(i, text) for i, text in enumerate(texts[begin : begin + CHUNK], begin) if text is not None]
            for _, run in groupby(present, lambda item: len(item[1])):  # single texts and pairs need calls of their own
                numbers, these = zip(*run, strict=True)
                columns = [list(column) for column in zip(*these, strict=True)]
                # verbose=False: long texts are counted and reported elsewhere, instead of one warning each.
                out = call_tokenizer(tokenizer, *columns, return_attention_mask=False, verbose=False, **cut)
                lengths[list(numbers)] = [len(row) for row in out["input_ids"]]
                ids.append(_join(out["input_ids"]))
                if "token_type_ids" in out:
                    types.append(_join(out["token_type_ids"]))
            done(min(CHUNK, len(texts) - begin))
    starts = np.concatenate([[0], np.cumsum(lengths)])
    return Tokens(_join(ids), _join(types) if types else None, starts)


def _join(rows: Sequence[Any]) -> Numbers:
    return np.concatenate([np.asarray(row, dtype=np.int32) for row in rows] or [np.zeros(0, dtype=np.int32)])
