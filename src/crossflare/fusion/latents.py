"""The one trained Linear(d_mt -> d) of FLARE MT; it lies on the model itself, since every block reads it.

Inside a block it would be sharded away, together with that block, before the next block reads it.
"""

from typing import Any, cast

from torch import nn
from torch.utils.hooks import RemovableHandle

from crossflare.libraries.peft import BaseTunerLayer, add_adapter_weights, lora_a

KIND = "lora_latents"
PLACE = "flare_latents"
"""The name of the holder in the model."""


class Latents(nn.Module, BaseTunerLayer):  # type: ignore[misc]  # read by its place in peft
    """The projections of all adapters of a model; peft trains, freezes, moves and deletes them like a layer's."""

    def __init__(self, layer: Any) -> None:
        """Make an empty holder.

        Args:
            layer: A LoRA layer of the model: the projections are moved to where its base layer is.
        """
        super().__init__()
        self.merged_adapters: list[str] = []
        self.handle: RemovableHandle | None = None
        self._like = (layer,)  # in a tuple, so that it is not a child module

    def get_base_layer(self) -> nn.Module:
        """Return a layer of the base."""
        return self._like[0].get_base_layer()


def add_projection(model: nn.Module, adapter: str, size: int, layer: Any) -> nn.Linear:
    """Give a model the projection of an adapter.

    Args:
        model: The model that carries the adapter.
        adapter: The adapter's name.
        size: d_mt.
        layer: A LoRA layer of the adapter: its lora_A [r,d] gives d, type and device, and whether it is trained.
    """
    if not hasattr(model, PLACE):
        setattr(model, PLACE, Latents(layer))
        # On the model: only there are all the names that are loaded still together.
        getattr(model, PLACE).handle = model.register_load_state_dict_pre_hook(_take_in_old_names)
    holder, like = getattr(model, PLACE), lora_a(layer, adapter).weight
    projection = nn.Linear(size, like.shape[1]).to(like)
    add_adapter_weights(holder, KIND, adapter, projection)
    return projection.requires_grad_(like.requires_grad)


def remove_projections(model: nn.Module) -> None:
    """Take all projections off a model."""
    if hasattr(model, PLACE):
        getattr(model, PLACE).handle.remove()
        delattr(model, PLACE)


def current_name(name: str) -> str:
    """Return the current name of a saved tensor: earlier versions kept the projection in the first fusing layer."""
    before, found, after = name.partition(f".{KIND}.")
    if not found or before.endswith(PLACE):
        return name
    return f"base_model.model.{PLACE}.{KIND}.{after}"


def _take_in_old_names(module: nn.Module, state: dict[str, Any], prefix: str, *rest: Any) -> None:
    """Load the projection from its place in earlier versions."""
    for name in [name for name in state if f".{KIND}." in name and f"{PLACE}.{KIND}." not in name]:
        state[f"{prefix}{PLACE}.{KIND}.{name.partition(f'.{KIND}.')[2]}"] = cast(object, state.pop(name))
