"""The arguments that a FLARE model takes beyond its base model's: the source, and which target tokens fuse."""

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from crossflare.errors import UserError

PREFIX = "source_"
LATENTS = "source_latents"
MASK = "source_attention_mask"
FUSION_MASK = "fusion_mask"


@dataclass
class Inputs:
    """One call of the model, sorted."""

    rest: dict[str, Any]
    """Keyword arguments of the base model."""
    target: dict[str, Any]
    """All arguments of the base model by name, positional ones too."""
    source: dict[str, Any]
    """The base model's arguments for the source: `source_input_ids` as `input_ids`, and so on."""
    latents: Tensor | None
    """[B,S,d_mt], FLARE MT."""
    given_mask: Tensor | None
    """[B,S], 1 for real source tokens; a row of zeros has no source."""
    fusion_mask: Tensor | None
    """[B,T], 1 for the target tokens that fuse; None: the attention mask."""

    @classmethod
    def take(cls, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> "Inputs":
        """Sort the arguments of a call."""
        rest = dict(kwargs)
        latents, mask, fusion_mask = rest.pop(LATENTS, None), rest.pop(MASK, None), rest.pop(FUSION_MASK, None)
        names = [name for name in rest if name.startswith(PREFIX)]
        source = {name.removeprefix(PREFIX): value for name in names if (value := rest.pop(name)) is not None}
        positional = dict(zip(inspect.signature(model.forward).parameters, args, strict=False)) if args else {}
        inputs = cls(rest, positional | rest, source, latents, mask, fusion_mask)
        if not inputs.texts and (source or mask is not None):
            came = ", ".join(sorted([PREFIX + name for name in source] + [MASK] * (mask is not None)))
            raise UserError(f"got {came} and no source: expected source_input_ids or source_latents beside it")
        return inputs

    @property
    def tokens(self) -> Tensor:
        """The target's tokens [B,T], or their embeddings [B,T,d].

        Raises:
            UserError: There are none.
        """
        return _tokens(self.target)

    @property
    def texts(self) -> list[Tensor]:
        """What was given as source, [B,S] or [B,S,d] each."""
        given = (self.latents, self.source.get("input_ids"), self.source.get("inputs_embeds"))
        return [tensor for tensor in given if tensor is not None]

    @property
    def has_source(self) -> bool:
        """Whether any source was given; one without columns (S = 0) is none."""
        return any(tensor.shape[1] > 0 for tensor in self.texts)

    @property
    def source_mask(self) -> Tensor:
        """[B,S] bool: the given mask, or all real."""
        if self.given_mask is not None:
            return self.given_mask.bool()
        return _all_real(self.latents if self.latents is not None else _tokens(self.source))

    @property
    def target_mask(self) -> Tensor:
        """[B,T] bool: the fusion mask, the attention mask, or all real."""
        mask = self.fusion_mask if self.fusion_mask is not None else self.target.get("attention_mask")
        if mask is None:
            return _all_real(_tokens(self.target))
        if mask.dim() != 2:
            raise UserError(
                f"the target's attention mask has shape {tuple(mask.shape)}, expected [B,T]; pass fusion_mask"
            )
        return mask.bool()

    def check(self, mt_dim: int | None) -> None:
        """Compare batch sizes and the kind of source.

        Raises:
            UserError: Text was given where latents are needed or the other way round, or the rows do not match.
        """
        if (mt_dim is None) != (self.latents is None):
            wanted = "source_input_ids (text)" if mt_dim is None else f"source_latents (size {mt_dim})"
            raise UserError(
                f"this adapter fuses with {wanted}; got {'latents' if self.latents is not None else 'text'}"
            )
        if self.latents is not None and self.latents.shape[-1] != mt_dim:
            raise UserError(
                f"source_latents have size {self.latents.shape[-1]}, the adapter was made for mt_dim={mt_dim}"
            )
        tokens = self.latents if self.latents is not None else _tokens(self.source)
        rows, target_rows = tokens.shape[0], _tokens(self.target).shape[0]
        if rows != target_rows:
            raise UserError(
                f"{rows} source rows for {target_rows} target rows; give a row of zeros where there is no source"
            )
        for name, mask, like in (
            (MASK, self.source_mask, tokens),
            ("the target's mask", self.target_mask, _tokens(self.target)),
        ):
            if mask.shape != like.shape[:2]:
                raise UserError(f"{name} has shape {tuple(mask.shape)}, its tokens {tuple(like.shape[:2])}")


def _tokens(inputs: dict[str, Any]) -> Tensor:
    tokens = inputs.get("input_ids")
    tokens = inputs.get("inputs_embeds") if tokens is None else tokens
    if not isinstance(tokens, Tensor):
        raise UserError("a FLARE model is called with input_ids or inputs_embeds (and source_input_ids for the source)")
    return tokens


def _all_real(tokens: Tensor) -> Tensor:
    return torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
