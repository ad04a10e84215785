"""The fusing layer: down, fuse, up. The equation of the method on one screen.

    out = W x + (alpha/r) * lora_B( phi( lora_A(v_source), lora_A(x) ) )

x are the target states that enter the projection, v_source the source states (see `frame.ModelStates`).
"""

import warnings
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from crossflare.errors import UserError
from crossflare.fusion.blocks import OneMatrix, Role
from crossflare.fusion.calls import Calls
from crossflare.fusion.frame import READING, Frame, LatentStates, Side, hidden_states
from crossflare.fusion.functions import Phi
from crossflare.libraries.peft import LoraVariant, cast_input, lora_a


class OverflowWarning(UserWarning):
    """A model in float16 gave numbers that are not finite."""


def warn_of_overflow(output: Any) -> None:
    """Warn when a model's output in float16 holds infinities or NaN, since what follows from it looks like a result.

    Args:
        output: A model's output; its `logits` are checked, outside of traced graphs.
    """
    logits = getattr(output, "logits", None)
    if torch.compiler.is_compiling() or not isinstance(logits, Tensor) or logits.dtype != torch.float16:
        return
    if not bool(torch.isfinite(logits).all()):
        warnings.warn(
            f"logits {tuple(logits.shape)} in float16 are not all finite: the model's numbers exceed what float16 "
            "holds; load the model in bfloat16 or float32",
            OverflowWarning,
            stacklevel=2,
        )


class FlareVariant(LoraVariant):  # type: ignore[misc]  # read by its place in peft
    """How one LoRA layer computes its output for one adapter; peft calls it for plain and quantised layers alike."""

    def __init__(self, calls: Calls, layer: str) -> None:
        """Make a layer that does not fuse: plain LoRA.

        Args:
            calls: The model's calls.
            layer: The layer's name in the model.
        """
        self.calls, self.layer = calls, layer
        self.phi: Phi | None = None
        self.stack = ""
        self.block = -1
        self.role: Role = "self"
        self.lead = 1
        self.alignment = "position"
        self.norm: nn.Module | None = None
        self.one_matrix: OneMatrix | None = None
        """The layout of a projection that is query, key and value in one; the key does not fuse."""
        self.latents: nn.Module | None = None

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]  # peft's is static, and called on an instance
        self, module: Any, active_adapter: str, x: Tensor, result: Tensor, **kwargs: Any
    ) -> Tensor:
        """Return the layer's whole output.

        Args:
            module: The LoRA layer.
            active_adapter: The adapter's name.
            x: The target states that enter the projection [B,T,d].
            result: W x [B,T,d_out].
            kwargs: Inputs of other variants; always empty here.
        """
        frame = self.calls.layer_frame(self.layer)
        frame = None if frame is None else frame.of(active_adapter)
        down, dropout = lora_a(module, active_adapter), module.lora_dropout[active_adapter]
        low = down(dropout(x))
        if self.phi is None:
            return result + _up(module, active_adapter, low)
        fused = _up(module, active_adapter, self._fused(frame, module, active_adapter, x, low))
        if self.one_matrix is not None:
            fused = self.one_matrix.replace_key(fused, _up(module, active_adapter, low))
        return result + fused

    def _fused(self, frame: Frame | None, module: Any, adapter: str, x: Tensor, low: Tensor) -> Tensor:
        """Return phi of the source's low-rank states and the target's, `low` [B,T,r]."""
        assert self.phi is not None, "only a fusing layer fuses"
        side = self._side(frame, x)
        low = _wide(low)
        if side is None or side.silent(self.alignment):
            return self._with_idle_weights(self.phi(None, low, None))
        source = cast_input(module, self._source_states(side), adapter)
        # First down, then to the rows that share a source: so autograd keeps only [U,S,d] and [B,S,r].
        low_source = _wide(side.source.spread(lora_a(module, adapter)(module.lora_dropout[adapter](source))))
        fused = self.phi(low_source, low, side.pairing(self.alignment, x, source))
        return self._with_idle_weights(fused) if side.same else fused

    def _with_idle_weights(self, fused: Tensor) -> Tensor:
        """Add weights that this call does not use, times zero: several processes wait for all gradients."""
        if torch.is_grad_enabled():
            for module in (self.phi, self.latents):
                for weight in module.parameters() if isinstance(module, nn.Module) else ():
                    fused = fused + 0.0 * weight.sum()
        return fused

    def _side(self, frame: Frame | None, x: Tensor) -> Side | None:
        """Return what this call fuses with; None when there is no source for it."""
        side = None if frame is None or self.layer in frame.elsewhere else frame.sides.get(self.stack)
        if side is not None and x.shape[:-1] != (side.fusing.shape[0], side.columns):
            raise UserError(
                f"{self.layer}: the projection's input {tuple(x.shape)} does not fit the target's mask "
                f"{(side.fusing.shape[0], side.columns)}; expected [B,T,d] and [B,T]"
            )
        return side

    def _source_states(self, side: Side) -> Tensor:
        """Return v_source [U,S,d] for this projection, through the block's input norm where there is one."""
        if isinstance(side.source, LatentStates):
            return side.source.at(self.block, self.lead, self.latents)
        if self.role == "cross_value":  # it projects what the encoder hands over, the same in every block
            assert side.source.final is not None, "an encoder's source pass keeps its output"
            return side.source.final
        source = side.source.at(self.block, self.lead, None)
        return source if self.norm is None else self.norm(source)

    def note_states(self, attention: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        """Note the states an attention was called with (a forward pre-hook, on watched blocks)."""
        if (frame := self.calls.frame) is not None and frame is not READING:
            frame.tokens[self.block] = hidden_states(args, kwargs)

    def note_input(self, layer: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        """Note whether the layer is called with those states, before peft may cast them into another tensor."""
        if (frame := self.calls.frame) is not None:
            here = frame.tokens.get(self.block) is args[0]
            (frame.elsewhere.discard if here else frame.elsewhere.add)(self.layer)

    @staticmethod
    def init(module: Any, adapter_name: str, **kwargs: Any) -> None:
        """Do nothing: the tuner sets the layer up."""

    @staticmethod
    def merge_safe(module: Any, active_adapter: str, orig_weight: Tensor) -> NoReturn:
        """Refuse: no weight has the effect of a fusion."""
        raise UserError(
            "a FLARE adapter cannot be merged: its result depends on the source text; keep it as an adapter, or use "
            "crossflare.export_plain_lora for the use without a source"
        )

    merge_unsafe = merge_safe
    unmerge = merge_safe

    def supports_lora_conversion(self) -> bool:
        """Say no to peft's conversion to plain LoRA."""
        return False


def _wide(low: Tensor) -> Tensor:
    """Return float16 low-rank states in float32: a sum or product of two may exceed what float16 holds."""
    return low.float() if low.dtype == torch.float16 else low


def _up(module: Any, adapter: str, low: Tensor) -> Tensor:
    """Return (alpha/r) lora_B(low) [B,T,d_out], in the type of `low`."""
    up, scale = module.lora_B[adapter], module.scaling[adapter]
    if low.dtype == up.weight.dtype or torch.is_autocast_enabled(low.device.type):
        return up(low) * scale
    bias = None if up.bias is None else up.bias.to(low.dtype)
    return nn.functional.linear(low, up.weight.to(low.dtype), bias) * scale
