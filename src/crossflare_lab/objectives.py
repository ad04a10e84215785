"""What each family learns from a document: rows for `training.fit`, the same at every time and place.

encoder          words behind masks
decoder          the next token
encoder-decoder  words behind sentinels
translator       the document in the source language

What a document asks for is hidden more often than the rest: it follows from what was said before.
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from crossflare.languages import find_language
from crossflare.progress import track
from crossflare_lab.corpus import LabDocument
from crossflare_lab.grammar import write_clauses
from crossflare_lab.languages import SOURCE, word_forms
from crossflare_lab.tokenizer import SENTINELS, Family, words_of

IGNORED = -100
_HIDDEN, _HIDDEN_ASKED = 0.1, 0.6


class DocumentRow(NamedTuple):
    """One document as a model's input and the output that it must give."""

    position: int
    ids: list[int]
    labels: list[int]
    """As long as `ids` for encoder and decoder; else as long as the decoder's output."""


class DocumentRows(Sequence[DocumentRow]):
    """The rows of a corpus, as `training.loop.state.Rows`."""

    def __init__(self, documents: Sequence[LabDocument], tokenizer: Any, family: Family, world: int = 0) -> None:
        make = _MAKERS[family](tokenizer, world)
        self._rows = [
            DocumentRow(number, *make(document, Random(f"hidden {number}")))
            for number, document in enumerate(track(documents, "reading the corpus"))
        ]
        self.names = [f"document {number}" for number in range(len(documents))]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> DocumentRow:  # type: ignore[override]  # one row at a time, never a slice
        return self._rows[index]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """[N] tokens of input and output."""
        return np.array([max(len(row.ids), len(row.labels)) for row in self._rows])


class Collator:
    """Pads rows to tensors, on the right, to a multiple of eight."""

    def __init__(self, tokenizer: Any, family: Family) -> None:
        self._pad, self._family = int(tokenizer.pad_token_id), family
        self._start = int(tokenizer.eos_token_id if family == "translator" else tokenizer.pad_token_id)

    def __call__(self, rows: Sequence[DocumentRow]) -> dict[str, Tensor]:
        """Return `input_ids`, `attention_mask` [B,T], `labels` and, for two stacks, `decoder_input_ids` [B,U]."""
        ids = _padded([row.ids for row in rows], self._pad)
        batch = {
            "input_ids": ids,
            "attention_mask": _padded([[1] * len(row.ids) for row in rows], 0),
            "labels": _padded([row.labels for row in rows], IGNORED),
        }
        if self._family in ("encoder-decoder", "translator"):
            batch["decoder_input_ids"] = _padded([[self._start, *row.labels[:-1]] for row in rows], self._pad)
        return batch


def loss(model: Any, batch: dict[str, Tensor], step: int = 0) -> Tensor:
    """Return the mean cross-entropy over the tokens to be predicted, in float32."""
    labels = batch.pop("labels")
    if "decoder_input_ids" in batch:
        logits = model(**batch, use_cache=False).logits.flatten(0, 1)
        return functional.cross_entropy(logits.float(), labels.flatten(), ignore_index=IGNORED)
    # The vocabulary is large for the model; most of an encoder's tokens are not predicted, and cost nothing here.
    said = labels != IGNORED
    states = model.base_model(**batch, **({} if model.config.model_type == "xlm-roberta" else {"use_cache": False}))
    return functional.cross_entropy(model.lm_head(states.last_hidden_state[said]).float(), labels[said])


Maker = Callable[[LabDocument, Random], tuple[list[int], list[int]]]


def _masked(tokenizer: Any, world: int) -> Maker:
    mask, size = int(tokenizer.mask_token_id), len(tokenizer)

    def make(document: LabDocument, source: Random) -> tuple[list[int], list[int]]:
        ids, labels = [int(tokenizer.cls_token_id)], [IGNORED]
        for hidden, word in _hide(document, tokenizer, source):
            kind = source.random() if hidden else 1.0
            ids += [mask] * len(word) if kind < 0.8 else [source.randrange(size) for _ in word] if kind < 0.9 else word
            labels += word if hidden else [IGNORED] * len(word)
        return [*ids, int(tokenizer.eos_token_id)], [*labels, IGNORED]

    return make


def _next(tokenizer: Any, world: int) -> Maker:
    end = int(tokenizer.eos_token_id)

    def make(document: LabDocument, source: Random) -> tuple[list[int], list[int]]:
        ids: list[int] = tokenizer(document.text)["input_ids"]
        return ids, [*ids[1:], end]

    return make


def _spans(tokenizer: Any, world: int) -> Maker:
    sentinels: list[int] = tokenizer.convert_tokens_to_ids(list(SENTINELS))
    end = int(tokenizer.eos_token_id)

    def make(document: LabDocument, source: Random) -> tuple[list[int], list[int]]:
        ids: list[int] = []
        labels: list[int] = []
        used, before = 0, False
        for hidden, word in _hide(document, tokenizer, source):
            hidden = hidden and (before or used + 1 < len(sentinels))
            if hidden and not before:
                ids.append(sentinels[used])
                labels.append(sentinels[used])
                used += 1
            (labels if hidden else ids).extend(word)
            before = hidden
        return [*ids, end], [*labels, sentinels[used], end]

    return make


def _translated(tokenizer: Any, world: int) -> Maker:
    def make(document: LabDocument, source: Random) -> tuple[list[int], list[int]]:
        sides: list[list[int]] = []
        for tag in (document.language, SOURCE):
            tokenizer.src_lang = find_language(tag).nllb
            sides.append(tokenizer(write_clauses(document.clauses, word_forms(tag, world)))["input_ids"])
        return sides[0], sides[1]

    return make


def _hide(document: LabDocument, tokenizer: Any, source: Random) -> list[tuple[bool, list[int]]]:
    """Return the words of a document, each with whether it is hidden: asked words mostly are, and as a whole."""
    stops = tokenizer.convert_tokens_to_ids([".", "?"])
    found: list[tuple[bool, list[int]]] = []
    for text, asked in document.parts:
        whole = asked and source.random() < _HIDDEN_ASKED
        for word in words_of(tokenizer, text):
            hidden = whole or (not asked and source.random() < _HIDDEN)
            found.append((hidden and word[0] not in stops, word))  # the end of a sentence is never hidden
    if not any(hidden for hidden, _ in found):
        found[0] = (True, found[0][1])
    return found


_MAKERS: dict[Family, Callable[[Any, int], Maker]] = {
    "encoder": _masked, "decoder": _next, "encoder-decoder": _spans, "translator": _translated
}  # fmt: skip


def _padded(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    width = -(-max(map(len, rows)) // 8) * 8
    return torch.tensor([[*row, *[value] * (width - len(row))] for row in rows])
