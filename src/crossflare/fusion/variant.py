"""The fusing layer: down, fuse, up. The equation of the method on one screen.

    out = W x + (alpha/r) * lora_B( phi( lora_A(v_source), lora_A(x) ) )

x are the target states that enter the projection, v_source the source states (see `sources`).
"""

from typing import Any, NoReturn

from torch import Tensor, nn

from crossflare.errors import UserError
from crossflare.fusion.blocks import Role
from crossflare.fusion.frame import Side, Slot
from crossflare.fusion.functions import Phi
from crossflare.fusion.peft_seams import LoraLayer, LoraVariant, cast_input, lora_a
from crossflare.fusion.sources import LatentStates, hidden_states


class FlareVariant(LoraVariant):
    """How one LoRA layer computes its output for one adapter; peft calls it for plain and quantised layers alike."""

    def __init__(self, slot: Slot) -> None:
        """Make a layer that does not fuse: plain LoRA, silent during the source pass."""
        self.slot = slot
        self.phi: Phi | None = None
        self.stack = ""
        self.block = -1
        self.role: Role = "self"
        self.lead = 1
        self.alignment = "position"
        self.norm: nn.Module | None = None
        self.latents: nn.Module | None = None
        self.on_target = True
        """Whether this call projects the target's tokens; DeBERTa's layers also project relative positions."""

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]  # peft's is static, and called on an instance
        self, module: LoraLayer, active_adapter: str, x: Tensor, result: Tensor, **kwargs: Any
    ) -> Tensor:
        """Return the layer's whole output.

        Args:
            module: The LoRA layer.
            active_adapter: The adapter's name.
            x: The target states that enter the projection [B,T,d].
            result: W x [B,T,d_out].
            kwargs: Inputs of other variants; always empty here.
        """
        if self.slot.reading:
            return result
        down, dropout = lora_a(module, active_adapter), module.lora_dropout[active_adapter]
        low = down(dropout(x))
        if self.phi is not None:
            side = self._side(x)
            if side is None or side.silent(self.alignment):
                low = self.phi(None, low, None)
            else:
                source = cast_input(module, self._source_states(side), active_adapter)
                # Down first, then to the rows that share a source: autograd keeps [U,S,d], and [B,S,r] only.
                low_source = side.source.spread(down(dropout(source)))
                low = self.phi(low_source, low, side.pairing(self.alignment, x, source))
        return result + module.lora_B[active_adapter](low) * module.scaling[active_adapter]

    def _side(self, x: Tensor) -> Side | None:
        """Return what this call fuses with; None when there is no source for it."""
        frame = self.slot.frame
        side = None if frame is None or not self.on_target else frame.sides.get(self.stack)
        if side is not None and x.shape[:-1] != (side.fusing.shape[0], side.columns):
            raise UserError(
                f"block {self.block}: the projection's input {tuple(x.shape)} does not fit the target's mask "
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
        if self.slot.frame is not None and not self.slot.reading:
            self.slot.frame.tokens[self.block] = hidden_states(args, kwargs)

    def note_input(self, layer: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        """Note whether the layer is called with them; before peft may cast them, which makes another tensor."""
        frame = self.slot.frame
        self.on_target = frame is None or frame.tokens.get(self.block) is args[0]

    @staticmethod
    def init(module: LoraLayer, adapter_name: str, **kwargs: Any) -> None:
        """Do nothing: the tuner sets the layer up."""

    @staticmethod
    def merge_safe(module: LoraLayer, active_adapter: str, orig_weight: Tensor) -> NoReturn:
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
