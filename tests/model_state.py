"""Everything of a model that a load could change, to compare before and after."""

from typing import Any

import torch


def state(model: Any) -> list[Any]:
    """Return parameters, modules with their attributes and hooks, and buffers."""
    parameters = [(name, each, each.detach().clone(), each.requires_grad) for name, each in model.named_parameters()]
    modules = [
        (name, each, each.training, sorted(vars(each)), len(each._forward_hooks), len(each._forward_pre_hooks))
        for name, each in model.named_modules()
    ]
    return [parameters, modules, [(name, each.clone()) for name, each in model.named_buffers()]]


def same(one: list[Any], other: list[Any]) -> bool:
    """Whether a model is, bit for bit, what it was."""
    if [len(each) for each in one] != [len(each) for each in other] or one[1] != other[1]:
        return False
    parameters = zip(one[0], other[0], strict=True)
    equal = all(a[0] == b[0] and a[1] is b[1] and torch.equal(a[2], b[2]) and a[3] == b[3] for a, b in parameters)
    buffers = zip(one[2], other[2], strict=True)
    return equal and all(a[0] == b[0] and torch.equal(a[1], b[1]) for a, b in buffers)
