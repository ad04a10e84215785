"""The inside of transformers' blocks up to the sum of states and attention, which X-Mixup needs; see `STYLES`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from crossflare.libraries import guard

if TYPE_CHECKING:
    from torch import Tensor, nn

LIBRARY = "transformers"


def _same(states: Any) -> Any:
    return states


@dataclass(frozen=True, slots=True)
class Attention:
    """The parts of a block's norm(x + after(dense(attention(before(x))))); where a block has no such norm, it is x."""

    query: Any
    key: Any
    value: Any
    dense: Any
    heads: int
    key_heads: int
    """The heads of keys and values; fewer than `heads` where several queries share them."""
    scale: float | None
    """The factor of the scores; None: one over the root of a head's size."""
    dropout: Any
    """The dropout of the attention's weights."""
    output_dropout: Any
    before: Any = _same
    query_norm: Any = _same
    """The norm of each head's queries."""
    key_norm: Any = _same
    cap: float | None = None
    """The bound of the scores: cap * tanh(scores / cap)."""
    after: Any = _same
    norm: Any = _same


@dataclass(frozen=True, slots=True)
class Style:
    """How the blocks of some models are made."""

    place: Callable[[nn.Module], nn.Module]
    """(block) -> the module whose output is the sum norm(x + after(...)), or what is added to x."""
    parts: Callable[[nn.Module], Attention]
    """(block) -> its parts, adapters on them included."""
    adds: bool = False
    """Whether the place's output is only what is added to the block's input x."""


def _bert(block: nn.Module) -> Attention:
    found = partial(guard.part, LIBRARY, block_attention(block))
    return Attention(
        *map(found, ("self.query", "self.key", "self.value", "output.dense")),
        heads=found("self.num_attention_heads"),
        key_heads=found("self.num_attention_heads"),
        scale=None,
        dropout=found("self.dropout"),
        output_dropout=found("output.dropout"),
        norm=found("output.LayerNorm"),
    )


def _t5(block: nn.Module) -> Attention:
    attention, layer = guard.part(LIBRARY, block, "layer.0.SelfAttention"), guard.part(LIBRARY, block, "layer.0")
    found = partial(guard.part, LIBRARY, attention)
    return Attention(
        *map(found, "qkvo"),
        heads=found("n_heads"),
        key_heads=found("n_heads"),
        scale=found("scaling"),
        dropout=_dropout(attention, found("dropout")),
        output_dropout=guard.part(LIBRARY, layer, "dropout"),
        before=guard.part(LIBRARY, layer, "layer_norm"),
    )


def _llama(block: nn.Module) -> Attention:
    attention = guard.part(LIBRARY, block, "self_attn")
    found, shared = partial(guard.part, LIBRARY, attention), guard.part(LIBRARY, attention, "num_key_value_groups")
    heads = found("q_proj").out_features // found("head_dim")
    return Attention(
        *map(found, ("q_proj", "k_proj", "v_proj", "o_proj")),
        heads=heads,
        key_heads=heads // shared,
        scale=found("scaling"),
        dropout=_dropout(attention, found("attention_dropout")),
        output_dropout=_same,
        before=guard.part(LIBRARY, block, "input_layernorm"),
        query_norm=getattr(attention, "q_norm", _same),
        key_norm=getattr(attention, "k_norm", _same),
        cap=getattr(attention, "attn_logit_softcapping", None),
        # The place itself: called by its forward, so that hooks on it do not run again.
        after=guard.part(LIBRARY, block, "post_attention_layernorm.forward") if _norms_twice(block) else _same,
    )


def _dropout(attention: nn.Module, share: float) -> Callable[[Tensor], Tensor]:
    from torch.nn.functional import dropout

    return partial(dropout, p=share, training=attention.training)


def _norms_twice(block: nn.Module) -> bool:
    """Whether `post_attention_layernorm` belongs to the attention (Gemma 2 and 3), not to the feed-forward part."""
    return hasattr(block, "pre_feedforward_layernorm")


def block_attention(block: nn.Module) -> nn.Module:
    """Return the attention of a block of an encoder like BERT."""
    return guard.part(LIBRARY, block, "attention")


STYLES = {
    "bert": Style(block_attention, _bert),
    "t5": Style(lambda block: guard.part(LIBRARY, block, "layer.0"), _t5),
    "llama": Style(
        lambda block: guard.part(LIBRARY, block, "post_attention_layernorm" if _norms_twice(block) else "self_attn"),
        _llama,
        adds=True,
    ),
}
"""Style -> how its blocks are made: encoders like BERT, encoders like T5's, decoders like Llama."""


def attention_states(output: Any) -> Tensor:
    """Return the states [B,T,d] from the output of a place: a tensor, or a tuple that begins with it."""
    from torch import Tensor

    found = output[0] if isinstance(output, tuple) and output else output
    if not isinstance(found, Tensor):
        raise guard.fail(LIBRARY, "states as the output of a block's attention")
    return found
