"""What crossflare relies on in transformers beyond its documented API."""

from collections.abc import Callable, Iterable
from typing import Any

from torch import nn
from transformers import Cache

from crossflare.libraries.guard import fail

# --- the call of forward and generate ---


def cache_among(values: Iterable[Any]) -> Any:
    """Return the key-value cache among the arguments of a call, found by its type; None when there is none.

    Its name is no contract: forward takes it as `past_key_values` up to 5.23, as `cache` from 5.24.
    """
    return next((value for value in values if isinstance(value, Cache)), None)


def cache_argument(parameters: Iterable[str]) -> str:
    """Return the name under which a model's forward takes its cache.

    Args:
        parameters: The names that forward takes.

    Raises:
        LibraryError: None of the known names is among them.
    """
    known = tuple(parameters)
    for name in ("cache", "past_key_values"):
        if name in known:
            return name
    raise fail("transformers", "key-value cache among the arguments of the model's forward")


def cached_tokens(cache: Any) -> int:
    """Return how many tokens a cache holds; 0 for no cache.

    Raises:
        LibraryError: The cache does not say.
    """
    if cache is None:
        return 0
    count = getattr(cache, "get_seq_length", None)
    if count is None:
        raise fail("transformers", f"{type(cache).__name__}.get_seq_length")
    return int(count())


# --- activation checkpointing ---

CHECKPOINT = "_gradient_checkpointing_func"
"""What a module with activation checkpointing runs its blocks with."""


def checkpointing(modules: Iterable[nn.Module]) -> list[nn.Module]:
    """Return those of the modules that checkpoint activations now.

    Raises:
        LibraryError: One of them is switched on and has no function to run its blocks with.
    """
    found = [module for module in modules if getattr(module, "gradient_checkpointing", False) is True]
    for module in found:
        if not hasattr(module, CHECKPOINT):
            raise fail("transformers", f"{type(module).__name__}.{CHECKPOINT}")
    return found


def with_checkpointing(model: Any, *, reentrant: bool) -> Any:
    """Switch a model's activation checkpointing on, by the name that this transformers has for it; return the model."""
    own = hasattr(model, "activation_checkpointing_enable")
    enable = model.activation_checkpointing_enable if own else model.gradient_checkpointing_enable
    enable({"use_reentrant": reentrant})
    model.enable_input_require_grads()
    return model


def wrap_checkpoint(module: nn.Module, wrap: Callable[[Any], Any]) -> None:
    """Replace the function that a module runs its blocks with."""
    setattr(module, CHECKPOINT, wrap(getattr(module, CHECKPOINT)))
