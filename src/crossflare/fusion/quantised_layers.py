"""What bitsandbytes' layers need so that gradients pass through them."""

from typing import Any

from torch import nn


def keep_differentiable(model: nn.Module) -> int:
    """Stop 4-bit layers from turning into their form for inference, which has no gradient; return how many there are.

    On CPUs with bfloat16 instructions a call without gradients, such as the source pass, repacks a 4-bit layer's
    weights for a fast kernel. The training pass that follows would use it, too: its gradients would be missing or torn.
    """
    found = 0
    for module in model.modules():
        layer: Any = module
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            found += 1
            layer.support_avx512bf16_for_cpu = False
            state = getattr(layer.weight, "quant_state", None)
            if getattr(state, "packing_format_for_cpu", False):
                layer.state_dict()  # saving brings the weights back to the common form, and has no private name
    return found


def is_quantised(module: nn.Module) -> bool:
    """Whether a module is a linear layer of 4 or 8 bits."""
    return type(module).__name__ in ("Linear4bit", "Linear8bitLt")
