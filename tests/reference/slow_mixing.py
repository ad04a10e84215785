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
