"""What crossflare uses of bitsandbytes beyond its documented API: its layers must let gradients pass."""

import sys
from typing import Any

from torch import nn

from crossflare.libraries import guard


def is_quantised(module: nn.Module) -> bool:
    """Whether a module is a linear layer of 4 or 8 bits."""
    if "bitsandbytes" not in sys.modules:  # whoever made such a layer has imported it
        return False
    kinds = guard.name("bitsandbytes:nn.Linear4bit"), guard.name("bitsandbytes:nn.Linear8bitLt")
    return isinstance(module, kinds)


def keep_differentiable(model: nn.Module) -> int:
    """Stop 4-bit layers from turning into their form for inference, which has no gradient; return how many there are.

    On CPUs with bfloat16 instructions a call without gradients, such as the source pass, repacks a 4-bit layer's
    weights for a fast kernel. The training pass that follows would use it, too: its gradients would be missing or torn.
    """
    layers: list[Any] = [
        module
        for module in model.modules()
        if is_quantised(module) and isinstance(module, guard.name("bitsandbytes:nn.Linear4bit"))
    ]
    for layer in layers:
        guard.part("bitsandbytes", layer, "support_avx512bf16_for_cpu")
        layer.support_avx512bf16_for_cpu = False
        if layer.weight.device.type == "cpu":
            layer.state_dict()  # saving brings repacked weights back to the common form, and has no private name
    return len(layers)
