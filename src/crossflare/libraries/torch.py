"""What crossflare relies on in torch and in the layers of bitsandbytes beyond their documented API."""

import sys
from collections.abc import Callable
from typing import Any

from torch import nn

from crossflare.libraries import guard

OWN_STATE = frozenset(vars(nn.Module()))
"""Names of the attributes that torch keeps in every module: its tables of parameters, buffers, modules and hooks."""
HOOKS = tuple(each for each in OWN_STATE if "forward" in each and "hooks" in each)
"""Names of the tables of hooks that run with a forward pass."""

_backward_pass = guard.name("torch._C:_current_graph_task_id")


def in_backward() -> bool:
    """Return whether a backward pass is running this code: activation checkpointing runs layers again there."""
    return _backward_pass() != -1


WRAPPERS = ("_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module")
"""Names under which torch's wrappers (compile, checkpoint_wrapper, FSDP1) keep the module that they wrap."""


def unwrapped(module: nn.Module) -> nn.Module:
    """Return the module inside of torch's wrappers; return any other module unchanged."""
    while (name := next((name for name in WRAPPERS if name in vars(module)["_modules"]), None)) is not None:
        module = vars(module)["_modules"][name]
    return module


def uncompiled(module: nn.Module) -> nn.Module:
    """Return the module that `torch.compile` was called with; return any other module unchanged."""
    original: Any = vars(module).get("_modules", {}).get("_orig_mod")
    return module if original is None else original


def forward_pre_hooks(module: nn.Module) -> list[Callable[..., Any]]:
    """Return the hooks that run before a module's forward."""
    return list(vars(module)["_forward_pre_hooks"].values())


def is_compiled(module: nn.Module) -> bool:
    """Return whether `module.compile()` was called, so that calls of the module run its graph."""
    return getattr(module, "_compiled_call_impl", None) is not None


def is_quantised(module: nn.Module) -> bool:
    """Return whether a module is a linear layer of 4 or 8 bits."""
    if "bitsandbytes" not in sys.modules:  # such a layer exists only after the import
        return False
    kinds = guard.name("bitsandbytes:nn.Linear4bit"), guard.name("bitsandbytes:nn.Linear8bitLt")
    return isinstance(module, kinds)


def keep_differentiable(model: nn.Module) -> int:
    """Stop 4-bit layers from taking their form for inference, which has no gradient; return how many there are.

    On CPUs with bfloat16 instructions a call without gradients, such as the source pass, repacks a 4-bit layer's
    weights for a fast kernel. The next training pass would use it, too: its gradients would be missing or broken.
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
