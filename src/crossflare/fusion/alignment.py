"""The alignments: which source token each target token is fused with.

All functions take boolean masks, target [B,T] and source [B,S], and count real tokens only, so padding on either side
and of any length changes nothing. A row whose source mask is empty has no source.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Anchor = Literal["start", "end"]


@dataclass(frozen=True, slots=True)
class Pairing:
    """The partners of the target tokens of one batch, by index or by weight."""

    target_mask: Tensor
    """[B,T] bool: target tokens that may fuse."""
    source_mask: Tensor
    """[B,S] bool: real source tokens."""
    paired: Tensor
    """[B,T] bool: target tokens that have a partner."""
    index: Tensor | None = None
    """[B,T] int64: the partner's column; 0 where unpaired."""
    weights: Tensor | None = None
    """[B,T,S]: a distribution over the source tokens; rows of unpaired tokens are meaningless."""
    same: bool = False
    """Whether both sides hold the same tokens: each token's partner is itself, in a cross-attention, too."""

    def columns(self, offset: int, width: int) -> "Pairing":
        """Return the pairing by index of `width` columns from `offset` on; those after the known ones pair nothing."""
        if self.index is None or (offset == 0 and width == self.paired.shape[1]):
            return self
        index, paired, mask = (_cut(part, offset, width) for part in (self.index, self.paired, self.target_mask))
        return Pairing(mask, self.source_mask, paired, index)

    def carry(self, source: Tensor, missing: float) -> Tensor:
        """Return `source` [B,S,r] at the target's tokens [B,T,r], with `missing` where a token has no partner."""
        if self.weights is not None:
            carried = self.weights.to(source.dtype) @ source
        elif self.index is not None:
            carried = source.gather(1, self.index[..., None].expand(-1, -1, source.shape[-1]))
        else:
            raise AssertionError("a pairing with neither index nor weights carries nothing")
        return carried.masked_fill(~self.paired[..., None], missing)


def position(target_mask: Tensor, source_mask: Tensor, anchor: Anchor) -> Pairing:
    """Pair the j-th real target token with the j-th real source token.

    `anchor` says from where j counts: "start" for encoders, "end" for decoder-only models, whose prompts end
    together and begin apart.
    """
    rank, target_length, source_length = _ranks(target_mask, source_mask)
    if anchor == "end":
        rank = rank + source_length - target_length
    return _by_rank(target_mask, source_mask, rank, source_length)


def proportional(target_mask: Tensor, source_mask: Tensor) -> Pairing:
    """Pair the j-th of T real target tokens with source token round(j * S / T), halves up, of S."""
    rank, target_length, source_length = _ranks(target_mask, source_mask)
    # Whole numbers only: floats would round differently from one length to the next.
    scaled = (2 * rank * source_length + target_length).div(2 * target_length.clamp(min=1), rounding_mode="floor")
    return _by_rank(target_mask, source_mask, torch.minimum(scaled, source_length - 1), source_length)


def attention(target_mask: Tensor, source_mask: Tensor, target_states: Tensor, source_states: Tensor) -> Pairing:
    """Pair every target token with the softmax over sqrt(d) * cosine(target state, source state); nothing is trained.

    sqrt(d) * cosine is the dot-product score of states with unit mean square, so the temperature is that of attention.

    Args:
        target_mask: [B,T] bool.
        source_mask: [B,S] bool.
        target_states: The projection's input [B,T,d].
        source_states: The source states to fuse with [B,S,d].
    """
    normalise = torch.nn.functional.normalize
    cosine = normalise(target_states, dim=-1) @ normalise(source_states, dim=-1).transpose(1, 2)
    scores = cosine.float() if cosine.dtype in (torch.float16, torch.bfloat16) else cosine
    scores = scores * target_states.shape[-1] ** 0.5
    scores = scores.masked_fill(~source_mask[:, None, :], torch.finfo(scores.dtype).min)
    paired = target_mask & source_mask.any(1, keepdim=True)
    return Pairing(target_mask, source_mask, paired, weights=scores.softmax(-1))


def pair_nothing(target_mask: Tensor, source_mask: Tensor) -> Pairing:
    """Pair nothing token by token: phi reads the whole source of the rows that have one (alignment `none`)."""
    return Pairing(target_mask, source_mask, target_mask & source_mask.any(1, keepdim=True))


def identity(target_mask: Tensor, source_mask: Tensor) -> Pairing:
    """Pair every token with itself, for a decoder that reads the same tokens on both sides; both masks are [B,T]."""
    index = torch.arange(target_mask.shape[1], device=target_mask.device).expand_as(target_mask)
    return Pairing(target_mask, source_mask, target_mask & source_mask, index=index, same=True)


def real_first(mask: Tensor) -> Tensor:
    """Return the columns [B,S] int64 of a mask [B,S] bool: those of its real tokens in order, then the others in order.

    It is a stable sort, in operations that an exported graph has, too.
    """
    real = mask.long()
    before = torch.where(mask, real.cumsum(1) - 1, real.sum(1, keepdim=True) + (1 - real).cumsum(1) - 1)
    columns = torch.arange(mask.shape[1], device=mask.device).expand_as(before)
    return torch.zeros_like(before).scatter(1, before, columns)


def _cut(part: Tensor, offset: int, width: int) -> Tensor:
    """Return `width` columns of [B,P] from `offset` on, with zeros or False after the last."""
    known = part[:, offset : offset + width]
    return torch.nn.functional.pad(known, (0, width - known.shape[1]))


def _ranks(target_mask: Tensor, source_mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the rank of each target token among the real ones [B,T] and both real lengths [B,1]."""
    rank = target_mask.long().cumsum(1) - 1
    return rank, target_mask.sum(1, keepdim=True), source_mask.sum(1, keepdim=True)


def _by_rank(target_mask: Tensor, source_mask: Tensor, rank: Tensor, source_length: Tensor) -> Pairing:
    """Pair target tokens with the source tokens at `rank` [B,T]; a rank outside of the source pairs nothing."""
    paired = target_mask & (rank >= 0) & (rank < source_length)
    index = real_first(source_mask).gather(1, rank.clamp(0, source_mask.shape[1] - 1)).masked_fill(~paired, 0)
    return Pairing(target_mask, source_mask, paired, index=index)
