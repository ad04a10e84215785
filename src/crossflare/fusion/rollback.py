"""Putting a model back as it was when something that changes its modules fails half-way."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def unchanged_on_failure(model: nn.Module) -> Generator[None]:
    """Restore modules, parameters, hooks, attributes and `requires_grad` of a model if the block raises.

    The numbers in the weights are not copied: the block must not change them before all that can fail is done.
    """
    attributes = [(vars(module), dict(vars(module))) for module in model.modules()]
    tables: list[tuple[dict[str, Any], dict[str, Any]]] = [
        (value, dict(value)) for _, before in attributes for value in before.values() if isinstance(value, dict)
    ]
    trained = [(weight, weight.requires_grad) for weight in model.parameters()]
    try:
        yield
    except BaseException:
        for table, before in attributes + tables:
            table.clear()
            table.update(before)
        for weight, before in trained:
            if weight.requires_grad != before:
                weight.requires_grad_(before)
        raise
