"""What crossflare relies on in torch beyond its documented API."""

from typing import Any

from torch import nn

from crossflare.libraries.guard import name

OWN_STATE = frozenset(vars(nn.Module()))
"""Names of what every module keeps for torch: its tables of parameters, buffers, modules and hooks."""
HOOKS = tuple(each for each in OWN_STATE if "forward" in each and "hooks" in each)
"""Names of the tables of hooks that run with a forward pass."""

_backward_pass = name("torch._C:_current_graph_task_id")


def in_backward() -> bool:
    """Whether a backward pass is running this code: activation checkpointing runs layers again there."""
    return _backward_pass() != -1


def uncompiled(module: nn.Module) -> nn.Module:
    """Return the module that `torch.compile` was given; any other module as it is."""
    original: Any = vars(module).get("_modules", {}).get("_orig_mod")
    return module if original is None else original
