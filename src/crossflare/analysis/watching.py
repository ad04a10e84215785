"""The fusing layers of a model, watched or changed while it reads."""

from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass

from peft import PeftModel
from torch import Tensor, nn

from crossflare.errors import UserError
from crossflare.fusion.alignment import Pairing
from crossflare.fusion.functions import Phi
from crossflare.fusion.variant import FlareVariant
from crossflare.libraries.peft import LoraLayer, lora_variant


@dataclass(frozen=True)
class Layer:
    """One projection that fuses."""

    name: str
    variant: FlareVariant

    @property
    def projection(self) -> str:
        """Its last name."""
        return self.name.rpartition(".")[2]

    @property
    def block(self) -> tuple[str, int]:
        """The name of its stack of blocks, and which of them it is in."""
        return self.variant.stack, self.variant.block


def fusing_layers(model: PeftModel) -> list[Layer]:
    """Return the fusing projections of the active adapter, in the model's order.

    Raises:
        UserError: There are none.
    """
    base: nn.Module = model.get_base_model()
    layers = [
        Layer(name, variant)
        for name, module in base.named_modules()
        if isinstance(module, LoraLayer)
        for variant in [lora_variant(module, str(model.active_adapter))]
        if isinstance(variant, FlareVariant) and variant.phi is not None
    ]
    if not layers:
        raise UserError(f"the adapter '{model.active_adapter}' has no layer that fuses; expected a FLARE adapter")
    return layers


def query_of(layers: Iterable[Layer], block: int | None = None) -> Layer:
    """Return the query projection of a block of the first stack; None: of its first block that fuses.

    Where query, key and value are one matrix, that is the one.

    Raises:
        UserError: Nothing fuses in that block.
    """
    own = [layer for layer in layers if layer.variant.role == "self"]
    first = [layer for layer in own if layer.variant.stack == own[0].variant.stack]
    blocks = sorted({layer.variant.block for layer in first})
    if block is not None and block not in blocks:
        raise UserError(f"block {block} does not fuse; expected one of {', '.join(map(str, blocks))}")
    there = [layer for layer in first if layer.variant.block == (blocks[0] if block is None else block)]
    return next((layer for layer in there if layer.projection.lower().startswith("q")), there[0])


@contextmanager
def replaced(layers: Iterable[Layer], make: Callable[[Phi], Phi]) -> Generator[None]:
    """Give layers another phi, made of their own, while inside."""
    before = [(layer.variant, layer.variant.phi) for layer in layers]
    try:
        for variant, phi in before:
            assert phi is not None, "a layer that fuses has a phi"
            variant.phi = make(phi)
        yield
    finally:
        for variant, phi in before:
            variant.phi = phi


def silent(phi: Phi) -> Phi:
    """Return phi of no source at all: every token takes the target-only value."""
    return lambda source, target, pairing: phi(None, target, None)


def seen(phi: Phi, see: Callable[[Tensor, Tensor, Tensor, Pairing], None]) -> Phi:
    """Return phi, which shows `see` each fusion: low source [B,S,r], low target and result [B,T,r], the pairing."""

    def watched(source: Tensor | None, target: Tensor, pairing: Pairing | None) -> Tensor:
        fused = phi(source, target, pairing)
        if source is not None and pairing is not None:
            see(source, target, fused, pairing)
        return fused

    return watched
