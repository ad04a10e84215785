"""The arguments that a FLARE model takes beyond its base model's: the source, and which target tokens fuse."""

import inspect
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from crossflare.errors import UserError
from crossflare.fusion.alignment import real_first
from crossflare.libraries.transformers import cache_among

PREFIX = "source_"
LATENTS = "source_latents"
MASK = "source_attention_mask"
ROWS = "source_rows"
FUSION_MASK = "fusion_mask"
ADDED = ("source_input_ids", MASK, "source_token_type_ids", "source_inputs_embeds", LATENTS, ROWS, FUSION_MASK)
"""Arguments that a model with FLARE adapters takes besides its own; others with the prefix `source_` work, too."""


@dataclass
class Inputs:
    """The arguments of one call of the model, sorted."""

    rest: dict[str, Any]
    """Keyword arguments of the base model."""
    target: dict[str, Any]
    """All arguments of the base model by name, positional ones too."""
    source: dict[str, Any]
    """The base model's arguments for the source: `source_input_ids` as `input_ids`, and so on."""
    latents: Tensor | None
    """[B,S,d_mt], FLARE MT."""
    given_mask: Tensor | None
    """[U,S], 1 for real source tokens; a row of zeros has no source."""
    fusion_mask: Tensor | None
    """[B,T], 1 for the target tokens that fuse; None: the attention mask."""
    rows: Tensor | None = None
    """[B] int64: which of the U <= B source rows each target row reads; None: its own, U = B."""

    @classmethod
    def take(cls, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> "Inputs":
        """Sort the arguments of a call."""
        rest = dict(kwargs)
        latents, mask, fusion_mask = rest.pop(LATENTS, None), rest.pop(MASK, None), rest.pop(FUSION_MASK, None)
        rows = rest.pop(ROWS, None)
        names = [name for name in rest if name.startswith(PREFIX)]
        source = {name.removeprefix(PREFIX): value for name in names if (value := rest.pop(name)) is not None}
        positional = dict(zip(inspect.signature(model.forward).parameters, args, strict=False)) if args else {}
        inputs = cls(rest, positional | rest, source, latents, mask, fusion_mask, rows)
        extras = {MASK: mask, ROWS: rows}
        came = [PREFIX + name for name in source] + [name for name, value in extras.items() if value is not None]
        if came and not inputs.texts:
            shown = ", ".join(sorted(came))
            raise UserError(f"got {shown} and no source: expected source_input_ids or source_latents beside it")
        return inputs

    @property
    def cache(self) -> Any:
        """The key-value cache among the arguments; None when there is none."""
        return cache_among(self.target.values())

    @property
    def tokens(self) -> Tensor:
        """The target's tokens [B,T], or their embeddings [B,T,d].

        Raises:
            UserError: The call has no tokens.
        """
        return _tokens(self.target)

    @property
    def texts(self) -> list[Tensor]:
        """The sources that the call gives, [U,S] or [U,S,d] each."""
        given = (self.latents, self.source.get("input_ids"), self.source.get("inputs_embeds"))
        return [tensor for tensor in given if tensor is not None]

    @property
    def has_source(self) -> bool:
        """Whether the call has a source; a source without columns (S = 0) is none."""
        return any(tensor.shape[1] > 0 for tensor in self.texts)

    @property
    def source_mask(self) -> Tensor:
        """[U,S] bool: the mask that the call gives, or all real."""
        if self.given_mask is not None:
            return self.given_mask.bool()
        return _all_real(self.latents if self.latents is not None else _tokens(self.source))

    def from_the_start(self) -> "Inputs":
        """Return the call with the source's real tokens first, padding after them."""
        mask = self.source_mask
        order = real_first(mask)
        source = {
            name: value.gather(1, order.view(*order.shape, *[1] * (value.dim() - 2)).expand_as(value))
            if isinstance(value, Tensor) and value.shape[:2] == mask.shape
            else value
            for name, value in self.source.items()
        }
        return replace(self, source=source, given_mask=mask.gather(1, order))

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
            UserError: Text was given where latents are needed or the other way round, the rows do not match, or
                `source_rows` does not say for every target row which source it reads.
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
        if self.rows is not None:
            _check_rows(self.rows, rows, target_rows)
        elif rows != target_rows:
            raise UserError(
                f"{rows} source rows for {target_rows} target rows; give a row of zeros where there is no source"
            )
        for name, mask, like in (
            (MASK, self.source_mask, tokens),
            ("the target's mask", self.target_mask, _tokens(self.target)),
        ):
            if mask.shape != like.shape[:2]:
                raise UserError(f"{name} has shape {tuple(mask.shape)}, its tokens {tuple(like.shape[:2])}")


def _check_rows(rows: Tensor, sources: int, targets: int) -> None:
    if tuple(rows.shape) != (targets,) or rows.dtype != torch.int64:
        raise UserError(
            f"source_rows has shape {tuple(rows.shape)} of {rows.dtype}, expected one int64 for each of {targets} "
            "target rows"
        )
    if sources > targets:
        raise UserError(f"{sources} source rows for {targets} target rows; give each source once, and only those read")
    for named in (int(rows.min()), int(rows.max())):
        if not 0 <= named < sources:
            raise UserError(f"source_rows names row {named} of {sources} source rows; expected 0 to {sources - 1}")


def _tokens(inputs: dict[str, Any]) -> Tensor:
    tokens = inputs.get("input_ids")
    tokens = inputs.get("inputs_embeds") if tokens is None else tokens
    if not isinstance(tokens, Tensor):
        raise UserError("a FLARE model is called with input_ids or inputs_embeds (and source_input_ids for the source)")
    return tokens


def _all_real(tokens: Tensor) -> Tensor:
    return torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
