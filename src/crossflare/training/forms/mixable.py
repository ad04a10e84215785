"""The models in which two texts can be mixed: which they are, and where their blocks are."""

from typing import Any, cast

from torch import nn

from crossflare.errors import UserError

POST_NORM = frozenset({"bert", "camembert", "electra", "roberta", "xlm-roberta"})
"""Model types of encoders with absolute positions and blocks LN(x + attention(x)), LN(x + feed_forward(x)), whose parts
are called `attention.self.query`, `.key`, `.value`, `attention.output.dense`, `.LayerNorm`."""


def post_norm_blocks(model: nn.Module, purpose: str) -> list[nn.Module]:
    """Return the L blocks of a post-norm encoder.

    Args:
        model: A transformers model with a head.
        purpose: What the blocks are needed for, for the message.

    Raises:
        UserError: The model is of another kind, or carries adapters, which do not know of later changes to it.
    """
    _refuse_adapters(model, purpose)
    config: Any = getattr(model, "config", None)
    kind = _kind_of(model) or type(model).__name__
    if kind not in POST_NORM or getattr(config, "is_decoder", False):
        raise UserError(
            f"{purpose} needs an encoder with absolute positions and a norm after each sum "
            f"({', '.join(sorted(POST_NORM))}), got {kind}; take such a base, or leave this method out"
        )
    backbone: Any = getattr(model, str(model.base_model_prefix))
    return list(backbone.encoder.layer)


LLAMAS = frozenset({"gemma", "gemma2", "gemma3_text", "llama", "mistral", "qwen2", "qwen3"})
"""Model types of decoders with blocks like Llama's."""
T5S = frozenset({"mt5", "t5", "umt5"})
"""Model types of encoder-decoders with blocks like T5's."""


def mixing_blocks(model: nn.Module, purpose: str) -> tuple[str, list[nn.Module]]:
    """Return the style (see `libraries.attention.STYLES`) and the blocks of a model in which two texts can be mixed.

    Of an encoder-decoder these are the encoder's blocks.

    Raises:
        UserError: See `post_norm_blocks`.
    """
    kind, whole = _kind_of(model), cast(Any, model)
    if kind not in LLAMAS | T5S:
        if kind in POST_NORM:
            return "bert", post_norm_blocks(model, purpose)
        raise UserError(
            f"{purpose} needs an encoder with a norm after each sum ({', '.join(sorted(POST_NORM))}), a decoder like "
            f"Llama ({', '.join(sorted(LLAMAS))}) or an encoder-decoder like T5 ({', '.join(sorted(T5S))}), got "
            f"{kind or type(model).__name__}; take such a base, or leave this method out"
        )
    _refuse_adapters(model, purpose)
    if kind in T5S:
        return "t5", list(whole.get_encoder().block)
    return "llama", list(getattr(whole, whole.base_model_prefix).layers)


def _refuse_adapters(model: nn.Module, purpose: str) -> None:
    if hasattr(model, "peft_config"):
        raise UserError(f"{purpose}: the model carries adapters already; prepare the base model, then add them")


def _kind_of(model: nn.Module) -> str:
    return str(getattr(getattr(model, "config", None), "model_type", ""))
