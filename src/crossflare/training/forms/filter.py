"""FILTER's way of reading two languages (Fang et al., AAAI 2021, arXiv 2009.05166), added to an encoder by hooks.

Target and source are one sequence, [target; source], in which the source's positions start again. In the first blocks
each language attends only to itself, in the next few to both, and in the rest again only to itself. The head reads the
target's tokens. Two parts of the paper's recipe are left out: the loss on the source language, and the second phase
(self-teaching). The comparison is between ways of fusion, under the one training that all methods share.
"""

from typing import Any

import torch
from torch import Tensor
from transformers.utils import ModelOutput  # pyright: ignore[reportPrivateImportUsage]  # documented there

from crossflare.errors import UserError
from crossflare.fusion.frame import real_rows
from crossflare.fusion.inputs import Inputs
from crossflare.libraries.transformers import attention_of, check_mask_argument, positions_from
from crossflare.training.forms.answering import answers_spans
from crossflare.training.forms.mixable import post_norm_blocks

ATTENTIONS = ("eager", "sdpa")
OF_24 = 20
"""The joint blocks for questions in the released settings for XLM-R Large, which has 24 blocks; labels have one."""
SIDES = ("input_ids", "token_type_ids")
CUT = ("start_logits", "end_logits")
"""The outputs that have a value for every token."""


def prepare_filter(model: Any, apart: int | None = None, joint: int | None = None) -> Any:
    """Let a base model take `source_...` arguments next to its own, and read both as one sequence.

    Without a source, or in rows whose source mask is all 0, the model is unchanged.

    Args:
        model: A BERT-like encoder with a head.
        apart: The number of blocks before the joint ones; None: 1, as released.
        joint: The number of blocks in which both attend to each other; None: as released, 1 for labels, and 20 of
            24 for questions.

    Returns:
        The same model.

    Raises:
        UserError: The model is of another kind, has adapters or is already prepared, its attention takes no mask of
            ours, or it has too few blocks.
    """
    blocks = post_norm_blocks(model, "FILTER")
    if is_prepared(model):
        raise UserError("FILTER: the model reads two languages already; prepare a fresh base")
    attention = attention_of(model)
    if attention not in ATTENTIONS:
        raise UserError(
            f"FILTER gives each block a mask of its own, which attention '{attention}' does not take; load the model "
            f"with attn_implementation {' or '.join(ATTENTIONS)}"
        )
    if joint is None:
        wanted = round(OF_24 / 24 * len(blocks)) if answers_spans(model) else 1
        joint = max(1, min(wanted, len(blocks) - 1))
    apart = min(1, len(blocks) - joint) if apart is None else apart
    if apart < 0 or joint < 0 or apart + joint > len(blocks):
        raise UserError(f"FILTER: expected {apart} + {joint} blocks apart and joint to be among {len(blocks)}")
    model.crossflare_filter = _Filter(model, blocks, range(apart, apart + joint))
    return model


def is_prepared(model: Any) -> bool:
    """Return whether a model, or the one under its adapters, is prepared."""
    return hasattr(model, "crossflare_filter")


class _Filter:
    """The hooks: one joins the texts, one in each block sets its mask, one cuts the output to the target."""

    def __init__(self, model: Any, blocks: list[Any], joint: range) -> None:
        self.padding = positions_from(model)
        """The padding id that positions start after in RoBERTa's family; None: they start at 0, as in BERT's."""
        self.additive = attention_of(model) == "eager"
        self.width = 0
        self.masks: tuple[Tensor, Tensor] | None = None
        """The masks of separate and of joint blocks, [B,1,T+S,T+S]. They are kept until the next call, since activation
        checkpointing runs blocks again, in older transformers with their hooks."""
        model.register_forward_pre_hook(self.before, with_kwargs=True)
        model.register_forward_hook(self.after, always_call=True)
        for number, block in enumerate(blocks):
            check_mask_argument(block)
            block.register_forward_pre_hook(self.mask_joint if number in joint else self.mask_apart, with_kwargs=True)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for a copy, without what belongs to a forward pass of the original."""
        return {**vars(self), "masks": None}

    def before(self, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Join target and source into one sequence."""
        self.masks = None
        inputs = Inputs.take(model, args, kwargs)
        if not inputs.has_source:
            return args, inputs.rest
        inputs.check(None)
        if "input_ids" not in inputs.source or inputs.target.get("input_ids") is None:
            raise UserError("FILTER reads tokens: expected input_ids and source_input_ids, got embeddings")
        real, rows = inputs.source_mask, inputs.rows
        source = inputs.source if rows is None else {name: tensor[rows] for name, tensor in inputs.source.items()}
        sides = (inputs.target_mask, real if rows is None else real[rows])
        self.width = sides[0].shape[1]
        self.masks = self._masks(*sides, next(model.parameters()).dtype)
        joined: dict[str, Tensor] = {
            "attention_mask": torch.cat([sides[0], real_rows(sides[1])], 1).long(),
            "position_ids": torch.cat([self._positions(side["input_ids"]) for side in (inputs.target, source)], 1),
        }
        joined |= {name: torch.cat([inputs.target[name], source[name]], 1) for name in SIDES if name in source}
        return (), inputs.target | joined

    def _positions(self, ids: Tensor) -> Tensor:
        if self.padding is None:
            return torch.arange(ids.shape[1], device=ids.device).expand(ids.shape)
        real = (ids != self.padding).long()
        return real.cumsum(1) * real + self.padding

    def _masks(self, target: Tensor, source: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return which tokens attend to which in separate and joint blocks; an empty source attends to one token."""
        side = torch.arange(target.shape[1] + source.shape[1], device=target.device) >= target.shape[1]
        same = side[:, None] == side
        apart = same & torch.cat([target, real_rows(source)], 1)[:, None]
        joint = apart | (~same & torch.cat([target, source], 1)[:, None])
        if not self.additive:
            return apart[:, None], joint[:, None]
        closed, opened = torch.finfo(dtype).min, torch.zeros((), dtype=dtype, device=target.device)
        return torch.where(apart, opened, closed)[:, None], torch.where(joint, opened, closed)[:, None]

    def mask_apart(self, block: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Set the mask of a block in which each language attends only to itself."""
        return None if self.masks is None else _with_mask(args, kwargs, self.masks[0])

    def mask_joint(self, block: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Set the mask of a joint block."""
        return None if self.masks is None else _with_mask(args, kwargs, self.masks[1])

    def after(self, model: Any, args: Any, output: Any) -> Any:
        """Cut the outputs of every token to the target's tokens."""
        if self.masks is not None and isinstance(output, ModelOutput):
            for name in CUT:
                if name in output:
                    output[name] = output[name][:, : self.width]
        if output is None or not torch.is_grad_enabled():
            self.masks = None
        return output


def _with_mask(args: tuple[Any, ...], kwargs: dict[str, Any], mask: Tensor) -> tuple[Any, dict[str, Any]]:
    """Return a block's arguments with another mask; encoders pass it by position or by name."""
    if len(args) > 1:
        return (args[0], mask, *args[2:]), kwargs
    return args, kwargs | {"attention_mask": mask}
