"""The fusion functions phi: how the low-rank states of source and target become one (paper, table of fusion functions).

Every phi has one call, `phi(source [B,S,r], target [B,T,r], pairing) -> [B,T,r]`, and one value for a target token
with no source partner. That value is phi of a neutral source (0 for sums, 1 for products), so a missing translation
takes the same path and the same nonlinearity as a present one.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from crossflare.fusion.alignment import Pairing
from crossflare.fusions import FUSIONS

Phi = Callable[[Tensor | None, Tensor, Pairing | None], Tensor]


def _partner(source: Tensor | None, target: Tensor, pairing: Pairing | None, neutral: float) -> Tensor:
    """Return each target token's source [B,T,r], `neutral` where it has none (a scalar if no token has one)."""
    if source is None or pairing is None:
        return target.new_full((), neutral)
    return pairing.carry(source, neutral)


def add(source: Tensor | None, target: Tensor, pairing: Pairing | None) -> Tensor:
    """Return S + T; without a source: T."""
    return _partner(source, target, pairing, 0.0) + target


def mul(source: Tensor | None, target: Tensor, pairing: Pairing | None) -> Tensor:
    """Return S * T, element by element; without a source: T."""
    return _partner(source, target, pairing, 1.0) * target


def add_relu(source: Tensor | None, target: Tensor, pairing: Pairing | None) -> Tensor:
    """Return relu(S) + relu(T), the paper's best; without a source: relu(T)."""
    return torch.relu(_partner(source, target, pairing, 0.0)) + torch.relu(target)


def mul_relu(source: Tensor | None, target: Tensor, pairing: Pairing | None) -> Tensor:
    """Return relu(S) * relu(T); without a source: relu(T)."""
    return torch.relu(_partner(source, target, pairing, 1.0)) * torch.relu(target)


class _RankAttention(nn.Module):
    """Single-head attention among low-rank states; its three r x r maps start at the identity."""

    def __init__(self, r: int) -> None:
        super().__init__()
        # Bare parameters: peft tells an adapter's tensors apart by the name before the last dot.
        self.query = nn.Parameter(torch.eye(r))
        self.key = nn.Parameter(torch.eye(r))
        self.value = nn.Parameter(torch.eye(r))

    def attend(self, queries: Tensor, memory: Tensor, memory_mask: Tensor, same: bool) -> Tensor:
        """Return softmax(Q W_Q (K W_K)^T / sqrt(r)) V W_V [B,Q,r] over the real tokens of `memory` [B,M,r].

        With `same`, both sides hold the same tokens, and each token reads only itself on the other side.
        """
        values = memory @ self.value.to(memory.dtype).T
        return values if same else self.weights(queries, memory, memory_mask) @ values

    def weights(self, queries: Tensor, memory: Tensor, memory_mask: Tensor) -> Tensor:
        """Return softmax(Q W_Q (K W_K)^T / sqrt(r)) [B,Q,M] over the real tokens of `memory` [B,M,r]."""
        asked, offered = queries @ self.query.to(queries.dtype).T, memory @ self.key.to(memory.dtype).T
        scores = asked @ offered.transpose(1, 2) / math.sqrt(queries.shape[-1])
        # The lowest finite number, not -inf: a row with no memory at all stays finite and is dropped by the caller.
        return scores.masked_fill(~memory_mask[:, None, :], torch.finfo(scores.dtype).min).softmax(-1)


class CrossAttention(_RankAttention):
    """T + Attn(Q=T, K=V=S, source mask): every target token reads the whole source; without one: T."""

    def forward(self, source: Tensor | None, target: Tensor, pairing: Pairing | None) -> Tensor:
        """Return [B,T,r] from source [B,S,r] and target [B,T,r]."""
        if source is None or pairing is None:
            return target
        read = self.attend(target, source, pairing.source_mask, pairing.same)
        return target + read.masked_fill(~pairing.paired[..., None], 0.0)


class CrossAttentionPaper(_RankAttention):
    """Attn(Q=S, K=V=T) with no residual, as published: one output per source token, carried to the target's tokens.

    The published form needs both texts padded alike, and the values hold no source content; it is here for comparison.
    A target token with no partner takes T.
    """

    def forward(self, source: Tensor | None, target: Tensor, pairing: Pairing | None) -> Tensor:
        """Return [B,T,r] from source [B,S,r] and target [B,T,r]."""
        if source is None or pairing is None:
            return target
        mixed = pairing.carry(self.attend(source, target, pairing.target_mask, pairing.same), 0.0)
        return torch.where(pairing.paired[..., None], mixed, target)


def make_phi(fusion: str, r: int) -> Phi | nn.Module:
    """Return the phi of a row of `FUSIONS`: a plain function, or a new module for the rank r."""
    made: Any = globals()[FUSIONS[fusion].function or fusion]
    return made(r) if isinstance(made, type) else made
