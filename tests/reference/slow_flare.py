"""FLARE one row and one token at a time, from the method's equations alone; shares no code with the fusion package.

    out = W x + (alpha/r) * lora_B( phi( lora_A(v_source), lora_A(x) ) )

Rows are taken without their padding, so whatever this computes cannot depend on padding. Everything is float64.
"""

import math
from collections.abc import Callable
from fractions import Fraction

import torch
from torch import Tensor

State = dict[str, Tensor]
"""Tensors by name."""


def partner(alignment: str, j: int, target_length: int, source_length: int) -> int | None:
    """Return the source token that target token j is fused with, counted from the first; None: no partner."""
    if source_length == 0:
        return None
    if alignment == "position":
        return j if j < source_length else None
    # round(j * S / T), halves up, of the S there are
    return min(math.floor(Fraction(j * source_length, target_length) + Fraction(1, 2)), source_length - 1)


def softmax(scores: list[Tensor]) -> list[Tensor]:
    """Return the softmax of a list of numbers."""
    top = max(float(score) for score in scores)
    powers = [torch.exp(score - top) for score in scores]
    return [power / sum(powers) for power in powers]


def attend(query: Tensor, memory: list[Tensor], maps: State) -> Tensor:
    """Return single-head attention of one query [r] over `memory`, all [r], through three r x r maps."""
    q = maps["query"] @ query
    scores = [q @ (maps["key"] @ entry) / math.sqrt(len(query)) for entry in memory]
    return sum(
        (share * (maps["value"] @ entry) for share, entry in zip(softmax(scores), memory, strict=True)),
        torch.zeros_like(query),
    )


def by_similarity(x: Tensor, sources: Tensor) -> list[Tensor]:
    """Return the weights of alignment `attention`: softmax of sqrt(d) * cosine of a target state with each source's."""
    cosines = [x @ v / (x.norm() * v.norm()) for v in sources]
    return softmax([math.sqrt(len(x)) * cosine for cosine in cosines])


def phi(fusion: str, source: Tensor, target: Tensor) -> Tensor:
    """Return phi of one source token and one target token, both [r]."""
    relu = torch.nn.functional.relu
    return {
        "add": lambda: source + target,
        "mul": lambda: source * target,
        "add_relu": lambda: relu(source) + relu(target),
        "mul_relu": lambda: relu(source) * relu(target),
    }[fusion]()


def alone(fusion: str, target: Tensor) -> Tensor:
    """Return phi of a target token with no partner."""
    return torch.nn.functional.relu(target) if fusion.endswith("relu") else target


def fused(
    fusion: str, alignment: str, x: Tensor, v: Tensor | None, lora_a: Tensor, maps: State, fuses: list[bool]
) -> Tensor:
    """Return phi(lora_A(v_source), lora_A(x)) [T,r] of one row.

    Args:
        fusion: Name of phi.
        alignment: Name of the alignment.
        x: The target's real tokens [T,d].
        v: The source's real tokens [S,d], or None.
        lora_a: [r,d].
        maps: query, key and value of a phi with weights.
        fuses: For each of T, whether it may fuse at all.
    """
    low_target = [lora_a @ token for token in x]
    if v is None or len(v) == 0:
        return torch.stack([alone(fusion, low) for low in low_target])
    low_source = [lora_a @ token for token in v]
    if fusion == "cross_attention_paper":  # one output per source token, which is then carried to the target's
        memory = [low for low, fuse in zip(low_target, fuses, strict=True) if fuse]
        low_source = [attend(low, memory, maps) for low in low_source]
    ranks = [sum(fuses[:j]) for j in range(len(x))]  # j counts the tokens that fuse
    out: list[Tensor] = []
    for j, low in enumerate(low_target):
        if not fuses[j]:
            out.append(alone(fusion, low))
            continue
        if fusion == "cross_attention":
            out.append(low + attend(low, low_source, maps))
            continue
        if alignment == "attention":
            carried = sum(
                (w * s for w, s in zip(by_similarity(x[j], v), low_source, strict=True)), torch.zeros_like(low)
            )
        else:
            k = partner(alignment, ranks[j], sum(fuses), len(v))
            if k is None:
                out.append(alone(fusion, low))
                continue
            carried = low_source[k]
        out.append(carried if fusion == "cross_attention_paper" else phi(fusion, carried, low))
    return torch.stack(out)


Term = Callable[[str, int, Tensor], Tensor]
"""What the adapter adds to projection `name` of block i, for input x [T,d]: [T,d_out]."""


def no_term(name: str, block: int, x: Tensor) -> Tensor:
    """Add nothing: the base model."""
    return torch.zeros((), dtype=x.dtype)


class SlowBert:
    """BERT and XLM-R with a classification head, a row at a time, from their weights."""

    def __init__(self, weights: State, prefix: str, heads: int, blocks: int, first_position: int) -> None:
        self.weights, self.prefix, self.heads, self.blocks = weights, prefix, heads, blocks
        self.first_position = first_position

    def linear(self, name: str, x: Tensor) -> Tensor:
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def norm(self, name: str, x: Tensor, eps: float) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / torch.sqrt((centred**2).mean(-1, keepdim=True) + eps)
        return scaled * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def embed(self, ids: list[int], eps: float) -> Tensor:
        names = f"{self.prefix}.embeddings"
        positions = [self.first_position + j for j in range(len(ids))]
        total = (
            self.weights[f"{names}.word_embeddings.weight"][ids]
            + self.weights[f"{names}.position_embeddings.weight"][positions]
            + self.weights[f"{names}.token_type_embeddings.weight"][0]
        )
        return self.norm(f"{names}.LayerNorm", total, eps)

    def block(self, i: int, x: Tensor, term: Term, eps: float) -> Tensor:
        name = f"{self.prefix}.encoder.layer.{i}"
        q = self.linear(f"{name}.attention.self.query", x) + term("query", i, x)
        k = self.linear(f"{name}.attention.self.key", x) + term("key", i, x)
        v = self.linear(f"{name}.attention.self.value", x) + term("value", i, x)
        size = q.shape[1] // self.heads
        heads: list[Tensor] = []
        for h in range(self.heads):
            part = slice(h * size, (h + 1) * size)
            tokens = [
                sum(
                    (w * value for w, value in zip(weights, v[:, part], strict=True)),
                    torch.zeros(size, dtype=x.dtype),
                )
                for weights in (softmax([query @ key / math.sqrt(size) for key in k[:, part]]) for query in q[:, part])
            ]
            heads.append(torch.stack(tokens))
        attended = self.linear(f"{name}.attention.output.dense", torch.cat(heads, 1))
        x = self.norm(f"{name}.attention.output.LayerNorm", attended + x, eps)
        inner = self.linear(f"{name}.intermediate.dense", x)
        inner = inner * 0.5 * (1 + torch.erf(inner / math.sqrt(2)))
        return self.norm(f"{name}.output.LayerNorm", self.linear(f"{name}.output.dense", inner) + x, eps)

    def states(self, ids: list[int], term: Term = no_term, eps: float = 1e-12) -> list[Tensor]:
        """Return L+1 states [T,d]: the embeddings, then the output of each block."""
        states = [self.embed(ids, eps)]
        for i in range(self.blocks):
            states.append(self.block(i, states[-1], term, eps))
        return states

    def logits(self, first: Tensor, head: State) -> Tensor:
        """Return the class scores from the first token's last state [d]."""
        if "dense.weight" in head:  # XLM-R
            first = torch.tanh(head["dense.weight"] @ first + head["dense.bias"])
            return head["out_proj.weight"] @ first + head["out_proj.bias"]
        first = torch.tanh(self.linear(f"{self.prefix}.pooler.dense", first))
        return head["weight"] @ first + head["bias"]
