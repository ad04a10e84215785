"""From tokenised examples to tensors: a batch is padded to its longest row, and rows can share one copy of a source."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crossflare.errors import UserError
from crossflare.tasks.example import Example
from crossflare.training.text.encoded import EncodedRow, Latents, TextTokens, encode

CLEAN = "clean_"
"""The prefix before a batch's `source_...` names, for the labelled text that may be read instead."""
CLEAN_ROWS = "clean_source_positions"
"""The key of [B] positions: each row's position in the data set."""


class PairCollator:
    """A collator that pads examples, or rows of `Encoded`, to tensors; target and source each have their own width.

    The width is the longest row of the batch, rounded up to `multiple_of` (every new shape costs kernels and memory
    that stay allocated), but never above `max_length`. An example without a source gets a row of padding whose
    `source_attention_mask` is all 0. A batch without any source has no source keys. `labels` appear when every row
    has one. If rows have the same source (one row in several languages), the batch has it once, unless `shared` is
    False, and `source_rows` [B] says which source each row reads. Rows that may read the labelled text instead of
    their source (`encode(with_clean=True)`) have both: see `joining.Annealing`.

    Raises:
        UserError: The tokenizer has no padding token.
    """

    def __init__(
        self, tokenizer: Any, max_length: int, *, with_source: bool, multiple_of: int = 8, shared: bool = True
    ) -> None:
        if tokenizer.pad_token_id is None:
            raise UserError("the tokenizer has no padding token; set tokenizer.pad_token, for example to its eos_token")
        self.tokenizer, self.max_length = tokenizer, max_length
        self.with_source, self.multiple_of, self.shared = with_source, multiple_of, shared

    def __call__(self, items: Sequence[Example] | Sequence[EncodedRow]) -> dict[str, Tensor]:
        """Return `input_ids` and `attention_mask` [B,T], the same for U distinct sources [U,S], and `labels` [B]."""
        if isinstance(items[0], Example):
            examples: Any = items
            items = list(encode(self.tokenizer, examples, self.max_length, with_source=self.with_source))
        rows: Any = items
        batch = self._pad([row.target for row in rows], "")
        if any(row.clean is not None for row in rows):
            batch |= self._choices(rows)
        elif self.with_source and any(row.source is not None for row in rows):
            batch |= self._sources([row.source for row in rows])
        if any(row.latents is not None for row in rows):
            batch |= pad_latents([row.latents for row in rows])
        if all(row.label is not None for row in rows):
            batch["labels"] = torch.tensor([row.label for row in rows])
        return batch

    def _choices(self, rows: Sequence[EncodedRow]) -> dict[str, Tensor]:
        """Return both sources of each row, in the same shape, and the rows' positions; see `joining.Annealing`."""
        both = self._pad([row.source for row in rows] + [row.clean for row in rows], "source_")
        made: dict[str, Tensor] = {CLEAN_ROWS: torch.tensor([row.position for row in rows])}
        for name, tensor in both.items():
            made[name], made[CLEAN + name] = tensor.chunk(2)
        return made

    def _sources(self, sides: Sequence[TextTokens | None]) -> dict[str, Tensor]:
        """Return each distinct source once; a row without a source keeps a row of its own."""
        if not self.shared:
            return self._pad(sides, "source_")
        distinct: dict[Any, TextTokens | None] = {}
        keys = [number if side is None else _content(side) for number, side in enumerate(sides)]
        for key, side in zip(keys, sides, strict=True):
            distinct.setdefault(key, side)
        batch = self._pad(list(distinct.values()), "source_")
        if len(distinct) < len(sides):
            places = {key: place for place, key in enumerate(distinct)}
            batch["source_rows"] = torch.tensor([places[key] for key in keys])
        return batch

    def _pad(self, sides: Sequence[TextTokens | None], prefix: str) -> dict[str, Tensor]:
        longest = max(len(side.ids) for side in sides if side is not None)
        width = max(longest, min(-(-longest // self.multiple_of) * self.multiple_of, self.max_length))
        shape = (len(sides), width)
        ids = np.full(shape, self.tokenizer.pad_token_id, dtype=np.int64)
        mask = np.zeros(shape, dtype=np.int64)
        types: NDArray[np.int64] | None = None
        for number, side in enumerate(sides):
            if side is None:
                continue
            length = len(side.ids)
            place = slice(width - length, None) if self.tokenizer.padding_side == "left" else slice(length)
            ids[number, place] = side.ids
            mask[number, place] = 1
            if side.types is not None:
                types = np.full(shape, self.tokenizer.pad_token_type_id, dtype=np.int64) if types is None else types
                types[number, place] = side.types
        arrays = {"input_ids": ids, "attention_mask": mask} | ({} if types is None else {"token_type_ids": types})
        return {prefix + name: torch.from_numpy(array) for name, array in arrays.items()}


def pad_latents(latents: Latents) -> dict[str, Tensor]:
    """Return `source_latents` [B,S,d_mt], each row's texts one after the other and then zeros, and their mask [B,S]."""
    rows = [torch.cat(tuple(states)).float() for states in latents]
    lengths = torch.tensor([len(states) for states in rows])
    padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    return {
        "source_latents": padded,
        "source_attention_mask": (torch.arange(padded.shape[1]) < lengths[:, None]).long(),
    }


def _content(side: TextTokens) -> tuple[bytes, bytes | None]:
    return side.ids.tobytes(), None if side.types is None else side.types.tobytes()
