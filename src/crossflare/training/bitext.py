"""Parallel text as training rows of a translation model, in both directions: its vocabulary, batches and loss."""

import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor
from torch.nn import functional

from crossflare.errors import UserError
from crossflare.languages import find_language
from crossflare.training.loop.state import Batch
from crossflare.translation.engines.precomputed import Pair

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
"""The special tokens, in the order that NLLB gives them."""
IGNORED = -100
SMOOTHING = 0.1
"""Label smoothing, as in Vaswani et al. (2017)."""


def train_vocabulary(texts: Iterable[str], size: int, languages: Sequence[str], longest: int) -> Any:
    """Learn byte pairs from `texts` and return NLLB's tokenizer with this vocabulary and a token for each language.

    Args:
        texts: The texts of all languages together: names and numbers then look the same on both sides.
        size: The number of pieces to learn. Every sign of `texts` is a piece, even beyond this number.
        languages: BCP-47 tags.
        longest: The most tokens of a text.

    Raises:
        UserError: A language has no FLORES-200 code, which the tokenizer needs as its name.
    """
    from transformers import NllbTokenizer

    core = Tokenizer(models.BPE(unk_token="<unk>"))
    blank = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    # No piece joins letters and punctuation: "house." would be another word than "house".
    core.pre_tokenizer = pre_tokenizers.Sequence([blank, pre_tokenizers.Punctuation("isolated")])
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=list(SPECIAL), show_progress=False)
    core.train_from_iterator(texts, trainer)
    learnt = json.loads(core.to_str())["model"]
    merges: Any = [tuple(pair) for pair in learnt["merges"]]
    codes = [code_of(tag) for tag in languages]
    return NllbTokenizer(
        learnt["vocab"], merges, extra_special_tokens=codes, src_lang=codes[0], model_max_length=longest
    )


def code_of(tag: str) -> str:
    """Return the FLORES-200 code of a language; raise `UserError` when it has none."""
    language = find_language(tag)
    if language.flores is None:
        raise UserError(f"{language.name} ({language.tag}) has no FLORES-200 code, so no translator is trained for it")
    return language.flores


class BitextRow(NamedTuple):
    """One text and its translation as tokens, each with its language's token first and the end token last."""

    position: int
    source: NDArray[np.int32]
    target: NDArray[np.int32]


class Bitext(Sequence[BitextRow]):
    """The rows of N pairs of parallel text, one way and then the other; pairs with a too long side are left out."""

    def __init__(self, tokenizer: Any, pairs: Sequence[Pair], languages: tuple[str, str], longest: int) -> None:
        sides: list[list[NDArray[np.int32]]] = []
        for place, tag in enumerate(languages):
            tokenizer.src_lang = code_of(tag)
            ids = tokenizer([pair[place] for pair in pairs], verbose=False)["input_ids"] if pairs else []
            sides.append([np.array(row, dtype=np.int32) for row in ids])
        kept = [n for n in range(len(pairs)) if max(len(sides[0][n]), len(sides[1][n])) <= longest]
        self.left_out = len(pairs) - len(kept)
        self._rows = [(sides[0][n], sides[1][n]) for n in kept] + [(sides[1][n], sides[0][n]) for n in kept]
        self.names = [f"line {n + 1} {way}" for way in ("-".join(languages), "-".join(languages[::-1])) for n in kept]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> BitextRow:  # type: ignore[override]  # one row at a time, never a slice
        return BitextRow(index, *self._rows[index])

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The number of tokens of each row [2N], both sides together."""
        return np.array([len(source) + len(target) for source, target in self._rows], dtype=np.int64)


class BitextCollator:
    """A collator that pads rows on the right, to a multiple of eight."""

    def __init__(self, tokenizer: Any) -> None:
        self._pad, self._end = int(tokenizer.pad_token_id), int(tokenizer.eos_token_id)

    def __call__(self, rows: Sequence[BitextRow]) -> Batch:
        """Return `input_ids`, `attention_mask` [B,S], `decoder_input_ids` and `labels` [B,T]."""
        labels = _padded([row.target for row in rows], IGNORED)
        start = torch.full((len(rows), 1), self._end)
        return {
            "input_ids": _padded([row.source for row in rows], self._pad),
            "attention_mask": _padded([np.ones_like(row.source) for row in rows], 0),
            "decoder_input_ids": torch.cat([start, labels[:, :-1]], 1).masked_fill(labels == IGNORED, self._pad),
            "labels": labels,
        }


def translation_loss(model: Any, batch: Batch, step: int = 0, *, smoothing: float = SMOOTHING) -> Tensor:
    """Return the mean cross-entropy over the target tokens, with smoothed labels, in float32."""
    labels = batch.pop("labels")
    hidden = model.base_model(**batch, use_cache=False).last_hidden_state
    told = labels != IGNORED
    logits = model.get_output_embeddings()(hidden[told])  # no logits for padding
    return functional.cross_entropy(logits.float(), labels[told], label_smoothing=smoothing)


def _padded(rows: Sequence[NDArray[np.int32]], value: int) -> Tensor:
    width = -(-max(map(len, rows)) // 8) * 8
    table = np.full((len(rows), width), value, dtype=np.int64)
    for place, row in enumerate(rows):
        table[place, : len(row)] = row
    return torch.from_numpy(table)
