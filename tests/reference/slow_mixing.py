"""X-Mixup's block and FILTER's blocks one row and one token at a time, from the equations; no code of the package's.

Rows are taken without their padding, so whatever this computes cannot depend on padding.
"""

import math
from typing import Any

import torch
from torch import Tensor

from reference.slow_flare import softmax


def shares(attention: Any, head: int, reader: Tensor, read: list[Tensor]) -> list[Tensor]:
    """Return how one state shares one head's attention out to others."""
    size = attention.attention_head_size
    part = slice(head * size, (head + 1) * size)
    query = attention.query(reader)[part]
    return softmax([query @ attention.key(other)[part] / math.sqrt(size) for other in read])


def entropy(attention: Any, readers: list[Tensor], read: list[Tensor]) -> Tensor:
    """Return the entropy of the attention, its mean over heads and readers."""
    every = [
        -sum(share * torch.log(share) for share in shares(attention, head, reader, read))
        for head in range(attention.num_attention_heads)
        for reader in readers
    ]
    return sum(every) / len(every)  # type: ignore[return-value]


def mixed(parts: Any, target: list[Tensor], source: list[Tensor], w: float, b: float, most: float) -> list[Tensor]:
    """Return ht'' of one row: ht' and hs' are lists of states [d]; `parts` is a block's attention."""
    attention = parts.self
    both = entropy(attention, target, source) + entropy(attention, source, target)
    weight = most / (1 + torch.exp(-(w * both + b)))
    found = []
    for state in target:
        heads = []
        for head in range(attention.num_attention_heads):
            size = attention.attention_head_size
            part = slice(head * size, (head + 1) * size)
            portions = shares(attention, head, state, source)
            heads.append(sum(p * attention.value(s)[part] for p, s in zip(portions, source, strict=True)))
        made = parts.output.dense(torch.cat(heads))
        found.append(parts.output.LayerNorm(weight * made + (1 - weight) * state))
    return found


def joined(model: Any, target: Tensor, source: Tensor, apart: int, joint: int) -> tuple[Tensor, Tensor]:
    """Return FILTER's last states of target [T,d] and source [S,d], from their tokens, with no mask at all."""
    backbone = model.base_model
    states = [backbone.embeddings(ids[None]) for ids in (target, source)]
    for number, block in enumerate(backbone.encoder.layer):
        if apart <= number < apart + joint:
            states = list(block(torch.cat(states, 1)).split([len(target), len(source)], 1))
        else:
            states = [block(each) for each in states]
    return states[0][0], states[1][0]


def causal_weights(shared: Any, target: list[Tensor], source: list[Tensor], w: float, b: float) -> list[Tensor]:
    """Return the source's weight at each target token of a decoder: the published one of the target up to this token.

    `shared` is (reader, read) -> the reader's shares, a list for each head.
    """

    def mean(readers: list[Tensor], read: list[Tensor]) -> Tensor:
        every = [-sum(p * torch.log(p) for p in head) for reader in readers for head in shared(reader, read)]
        return sum(every) / len(every)  # type: ignore[return-value]

    found = []
    for count in range(1, len(target) + 1):
        both = mean(target[:count], source) + mean(source, target[:count])
        found.append(0.5 / (1 + torch.exp(-(w * both + b))))
    return found


class Inside:
    """The attention of a pre-norm block, one state at a time: no rotary angles, no relative positions."""

    def __init__(self, block: Any, family: str) -> None:
        self.family, t5 = family, family in ("t5", "mt5", "umt5")
        own: Any = block.layer[0].SelfAttention if t5 else block.self_attn
        names = ("q", "k", "v", "o") if t5 else ("q_proj", "k_proj", "v_proj", "o_proj")
        self.query, self.key, self.value, self.out = (getattr(own, name) for name in names)
        self.norm = block.layer[0].layer_norm if t5 else block.input_layernorm
        self.last = block.post_attention_layernorm if family == "gemma2" else lambda state: state
        self.size = 8 if t5 else 4
        self.heads = self.query.weight.shape[0] // self.size
        self.own, self.t5 = own, t5
        self.groups = self.query.weight.shape[0] // self.key.weight.shape[0]

    def _head(self, layer: Any, state: Tensor, head: int) -> Tensor:
        part = layer(self.norm(state))[head * self.size : (head + 1) * self.size]
        if self.family == "qwen3" and layer is not self.value:
            part = (self.own.q_norm if layer is self.query else self.own.k_norm)(part)
        return part

    def shares(self, reader: Tensor, read: list[Tensor]) -> list[list[Tensor]]:
        """Return the reader's shares, a list for each head."""
        found = []
        for head in range(self.heads):
            query = self._head(self.query, reader, head)
            scores = [query @ self._head(self.key, other, head // self.groups) for other in read]
            if not self.t5:
                scores = [score / math.sqrt(self.size) for score in scores]
            if self.family == "gemma2":
                scores = [50 * torch.tanh(score / 50) for score in scores]
            found.append(softmax(scores))
        return found

    def made(self, reader: Tensor, read: list[Tensor]) -> Tensor:
        """Return what the reader's attention to the states makes of them, [d]."""
        heads = [
            sum(p * self._head(self.value, s, head // self.groups) for p, s in zip(portions, read, strict=True))
            for head, portions in enumerate(self.shares(reader, read))
        ]
        return self.last(self.out(torch.cat(heads)))  # type: ignore[arg-type]


def mixed_inside(inside: Inside, target: list[Tensor], source: list[Tensor], w: float, b: float) -> list[Tensor]:
    """Return ht'' of one row in a pre-norm block: in a decoder by each token's own weight, else by the last one's."""
    weights = causal_weights(inside.shares, target, source, w, b)
    if inside.t5:
        weights = [weights[-1]] * len(target)
    return [weight * inside.made(t, source) + (1 - weight) * t for weight, t in zip(weights, target, strict=True)]
