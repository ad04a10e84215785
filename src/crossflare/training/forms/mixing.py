"""The mixing block of X-Mixup, added to a transformers encoder by hooks.

Source and target are read separately with the same weights, adapters included, with gradients through both. In one
block, after

    hs' = LN(hs + attention(hs)),   ht' = LN(ht + attention(ht))

the target goes on as

    ht'' = LN(weight * dense(attend(ht', hs')) + (1 - weight) * ht')
    weight = 1/2 * sigmoid(w * H + b)

where attention, dense and LN are the block's own, and H is the mean entropy of the target's attention to the source
plus that of the source's attention to the target. The only new parameters are w and b, which start at 1.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.utils import ModelOutput  # pyright: ignore[reportPrivateImportUsage]  # documented there

from crossflare.errors import UserError
from crossflare.fusion.blocks import post_norm_blocks
from crossflare.fusion.frame import real_rows
from crossflare.fusion.inputs import Inputs
from crossflare.libraries.transformers import (
    Attention,
    attention_parts,
    attention_states,
    block_attention,
    keep_activations,
)

GATE = "mixup_gate"
"""The name of the gate in a model. It is outside of the backbone, so it is trained and saved like a head."""


class Gate(nn.Module):
    """The gate weight = most * sigmoid(w * H + b), where `most` is the largest weight, 1/2."""

    def __init__(self, most: float = 0.5) -> None:
        super().__init__()
        self.most = most
        self.weight, self.bias = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))

    def forward(self, entropy: Tensor) -> Tensor:
        """Return the source's weight [B] for an entropy [B] in nats."""
        return self.most * torch.sigmoid(self.weight * entropy + self.bias)


def prepare_mixing(model: Any, layer: int = 0) -> Any:
    """Let a base model take `source_...` arguments next to its own, and mix the source into the target in one block.

    The model's output then also has the source's outputs, under the same names with the prefix `source_`. Logits are
    NaN in rows without a source; `hidden_states` are there if they are asked for. Without a source, or in rows
    whose source mask is all 0, the model is unchanged.

    Args:
        model: A BERT-like encoder with a head, before any adapter.
        layer: The block; X-Mixup takes 0 for classification and 15 of 24 for questions.

    Returns:
        The same model, with the gate as an additional part of its head.

    Raises:
        UserError: The model is of another kind, already has adapters or a gate, or has no such block.
    """
    blocks = post_norm_blocks(model, "X-Mixup")
    if hasattr(model, GATE):
        raise UserError("X-Mixup: the model mixes already; prepare a fresh base")
    if not 0 <= layer < len(blocks):
        raise UserError(f"X-Mixup: expected a block from 0 to {len(blocks) - 1}, got {layer}")
    setattr(model, GATE, Gate().to(next(blocks[layer].parameters()).device))
    _Mixer(model, blocks[layer])
    return model


@dataclass
class _Source:
    """The result of one forward pass over the sources."""

    output: Any
    states: Tensor
    """hs' [B,S,d], for each target row."""
    mask: Tensor
    """The source mask [B,S] bool."""
    target_mask: Tensor
    """The target mask [B,T] bool."""
    rows: Tensor | None

    def spread(self, value: Any) -> Any:
        """Return values of the distinct sources as values for each target row."""
        if isinstance(value, tuple):
            return tuple(self.spread(each) for each in value)
        return value if self.rows is None or not isinstance(value, Tensor) else value[self.rows]


class _Mixer:
    """The hooks: one takes the source's arguments and reads the source, one mixes, one adds to the output."""

    def __init__(self, model: Any, block: Any) -> None:
        self.model, self.block = model, block
        self.reading = False
        self.read: Tensor | None = None
        self.source: _Source | None = None
        model.register_forward_pre_hook(self.before, with_kwargs=True)
        model.register_forward_hook(self.after, with_kwargs=True, always_call=True)
        block_attention(block).register_forward_hook(self.mix)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for a copy, without what belongs to a forward pass of the original."""
        return {**vars(self), "read": None, "source": None}

    def before(self, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Take the source's arguments out of a call, and read the source."""
        if self.reading:
            return args, kwargs
        # Computed again by activation checkpointing, the block could not tell source from target; keeping it is cheap.
        keep_activations(self.block)
        inputs = Inputs.take(model, args, kwargs)
        if inputs.has_source:
            inputs.check(None)
            self.source = self._read(inputs)
        return args, inputs.rest

    def _read(self, inputs: Inputs) -> _Source:
        mask, rows = inputs.source_mask, inputs.rows
        asked = {name: inputs.rest[name] for name in ("output_hidden_states",) if name in inputs.rest}
        self.reading = True
        try:
            output = self.model(**inputs.source, **asked, attention_mask=real_rows(mask).long())
        finally:
            self.reading = False
        states, self.read = self.read, None
        assert states is not None, "the block ran"
        spread = (states, mask) if rows is None else (states[rows], mask[rows])
        return _Source(output, *spread, inputs.target_mask, rows)

    def mix(self, attention: Any, args: Any, output: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        """Keep hs' in the source's pass; replace ht' with ht'' in the target's."""
        states = attention_states(output)
        if self.reading:
            self.read = states
        if self.reading or self.source is None:
            return None
        gate: Any = getattr(self.model, GATE)
        source = self.source
        return mixed(attention, gate, states, source.states, source.target_mask, source.mask), *output[1:]

    def after(self, model: Any, args: Any, kwargs: Any, output: Any) -> Any:
        """Add the source's output to the target's, and release it."""
        if self.reading:
            return output
        source, self.source, self.read = self.source, None, None
        if source is not None and isinstance(output, ModelOutput):
            empty = ~source.mask.any(1)
            for name, value in source.output.items():
                given = source.spread(value)
                if name.endswith("logits"):
                    given = given.masked_fill(empty.view(-1, *[1] * (given.dim() - 1)), float("nan"))
                output[f"source_{name}"] = given
        return output


def mixed(
    attention: Any, gate: Any, target: Tensor, source: Tensor, target_mask: Tensor, source_mask: Tensor
) -> Tensor:
    """Return ht'' [B,T,d].

    Args:
        attention: The block's attention.
        gate: Entropy [B] -> the source's weight [B].
        target: ht' [B,T,d].
        source: hs' [B,S,d].
        target_mask: The target mask [B,T] bool.
        source_mask: The source mask [B,S] bool; a row that is all False keeps its ht'.
    """
    there, opened = source_mask.any(1), real_rows(source_mask)
    parts = attention_parts(attention)
    to_source = _log_shares(parts, target, source, opened)
    to_target = _log_shares(parts, source, target, target_mask)
    entropy = _mean_entropy(to_source, target_mask) + _mean_entropy(to_target, opened)
    values = _heads(parts, parts.value(source))
    context = (parts.dropout(to_source.exp()).to(values) @ values).transpose(1, 2).flatten(2)
    made = parts.output_dropout(parts.dense(context))
    weight = (gate(entropy) * there)[:, None, None]
    return torch.where(weight > 0, parts.norm(weight * made + (1 - weight) * target), target)


def _heads(attention: Attention, states: Tensor) -> Tensor:
    """Return [B,T,d] as [B,heads,T,d/heads]."""
    return states.unflatten(-1, (attention.heads, -1)).transpose(1, 2)


def _log_shares(attention: Attention, readers: Tensor, read: Tensor, mask: Tensor) -> Tensor:
    """Return the log attention weights [B,heads,T,S] of the queries `readers` [B,T,d] over the keys `read` [B,S,d]."""
    queries, keys = _heads(attention, attention.query(readers)), _heads(attention, attention.key(read))
    scores = (queries @ keys.mT).float() / math.sqrt(queries.shape[-1])
    return scores.masked_fill(~mask[:, None, None], torch.finfo(scores.dtype).min).log_softmax(-1)


def _mean_entropy(log_shares: Tensor, readers: Tensor) -> Tensor:
    """Return the attention entropy [B] in nats: the mean over heads and over the tokens in the mask `readers` [B,T]."""
    each = -(log_shares.exp() * log_shares).sum(-1).mean(1)
    return (each * readers).sum(1) / readers.sum(1)
