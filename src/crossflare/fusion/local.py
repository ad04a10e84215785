"""Values that belong to one call of one model: each thread and each task sees its own, and so does what is run again."""

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from functools import partial
from typing import Any, Generic, TypeVar, cast

from torch import Tensor

Value = TypeVar("Value")

_VALUES: ContextVar[Mapping["Local[Any]", Any]] = ContextVar("crossflare", default={})  # noqa: B039  # never changed
_TAG = "_crossflare_values"


class Local(Generic[Value]):
    """A value that a call of a model binds, and lets go of when it ends."""

    def get(self) -> Value | None:
        """Return what the call that is going on has bound; None outside of a call."""
        return _VALUES.get().get(self)

    def set(self, value: Value | None) -> None:
        """Bind a value, or let go of it."""
        others = {local: each for local, each in _VALUES.get().items() if local is not self}
        _VALUES.set(others if value is None else others | {self: value})


class Carrying:
    """A checkpoint function that carries the values of the forward pass into the pass that is run again in backward.

    That one may run in another thread, after the call has ended, and after other calls: it finds the values of its own
    forward, since they travel with the function that is run again.
    """

    def __init__(self, plain: Callable[..., Any]) -> None:
        self.plain = plain

    def __call__(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run a function under activation checkpointing."""
        return self.plain(partial(_run_with, _VALUES.get(), function), *args, **kwargs)


def _run_with(values: Mapping[Local[Any], Any], function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    token = _VALUES.set(values)
    try:
        return function(*args, **kwargs)
    finally:
        _VALUES.reset(token)


def tag(states: Tensor) -> None:
    """Note the values of this call on a tensor, for layers that a checkpoint from outside runs on it again."""
    setattr(states, _TAG, _VALUES.get())


def bind_tagged(local: Local[Any], states: Tensor) -> bool:
    """Bind what the values that a tensor was tagged with say of `local`; return whether they say anything."""
    values = cast(Mapping[Local[Any], Any], getattr(states, _TAG, {}))
    if local in values:
        local.set(values[local])
    return local in values
