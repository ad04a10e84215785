"""The forward pass that a layer belongs to: each call of a model binds its own frame."""

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar, cast

import torch
from torch import Tensor, nn

from crossflare.errors import UserError
from crossflare.fusion.frame import READING, Frame, hidden_states
from crossflare.libraries.torch import in_backward

Value = TypeVar("Value")

_VALUES: ContextVar[Mapping["Local[Any]", Any]] = ContextVar("crossflare", default={})  # noqa: B039  # never changed
_TAG = "_crossflare_values"


class Local(Generic[Value]):
    """A value that a call of a model binds, and releases when it ends."""

    def get(self) -> Value | None:
        """Return the value that the current call has bound; None outside of a call."""
        return _VALUES.get().get(self)

    def set(self, value: Value | None) -> None:
        """Bind a value; None releases it."""
        others = {local: each for local, each in _VALUES.get().items() if local is not self}
        _VALUES.set(others if value is None else others | {self: value})


class Carrying:
    """A checkpoint function that carries the values of a forward pass to its second run, in the backward pass.

    The second run may happen in another thread, after the call has ended, and after other calls. It finds the values of
    its own forward pass, since they travel with the function that is run again.
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
    """Note the values of this call on a tensor, for layers that an outside checkpoint runs on it again."""
    setattr(states, _TAG, _VALUES.get())


def bind_tagged(local: Local[Any], states: Tensor) -> bool:
    """Bind the value of `local` that a tensor was tagged with; return whether it has one."""
    values = cast(Mapping[Local[Any], Any], getattr(states, _TAG, {}))
    if local in values:
        local.set(values[local])
    return local in values


@dataclass(frozen=True)
class Mixed:
    """The adapters of a call that mixes them (see `mixing`)."""

    names: tuple[str, ...]
    """The adapter of each row [B]."""
    writing: bool = False
    """Whether `generate` makes the call; it repeats each row for its beams."""

    def spread(self, count: int) -> tuple[str, ...]:
        """Return the adapter of each of `count` rows, a multiple of B: beams follow each other.

        Raises:
            UserError: There are fewer rows than names, or a row too many.
        """
        each, rest = divmod(count, len(self.names))
        if rest or not each:
            raise UserError(f"adapter_names: {len(self.names)} names, but a layer has {count} rows; one batch each")
        return tuple(name for name in self.names for _ in range(each))

    def rows(self, count: int) -> dict[str, Tensor]:
        """Return the indices of each adapter's rows among `count` rows, in ascending order."""
        names = self.spread(count)
        return {
            name: torch.tensor([row for row, other in enumerate(names) if other == name])
            for name in dict.fromkeys(names)
        }


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a model."""

    frame: Frame
    outer: "Call | None" = None
    """The call of the same model that this one is made in, by a hook."""


class Calls:
    """The calls of one model. Threads and tasks that call it at the same time each see their own frame.

    A block that activation checkpointing runs again in the backward pass sees the frame of its own forward pass.
    transformers' checkpointing carries it (`Carrying`); under an outside checkpoint around blocks, the block's input
    carries it.
    """

    def __init__(self) -> None:
        self._call: Local[Call] = Local()
        self.mixed: Local[Mixed] = Local()
        """The adapters of a call that mixes them."""
        self._traced: Call | None = None
        """The call that torch.compile traces; torch.compile cannot read context variables."""

    def __getstate__(self) -> dict[str, object]:
        """Leave the call out of copies: it belongs to a pass of the original, and holds its graph."""
        return {"_call": Local(), "mixed": Local(), "_traced": None}

    def begin(self) -> None:
        """Begin a call, inside another one if there is one: a hook may call the model, too."""
        self._bind(Call(READING, self._own))

    def open(self, frame: Frame | None) -> None:
        """Bind the frame of the current call; None: a call without a source."""
        call = self._own
        frame = Frame({}, None, {}, set()) if frame is None else frame
        if not torch.compiler.is_dynamo_compiling() and (mixed := self.mixed.get()) is not None:
            frame = frame.split(mixed.rows)
        self._bind(Call(frame, None if call is None else call.outer))

    def close(self) -> None:
        """End a call; the call that it was made in, if any, goes on."""
        call = self._own
        self._bind(None if call is None else call.outer)

    @property
    def frame(self) -> Frame | None:
        """The frame of the current call; None when the model itself was not called."""
        call = self._own
        if call is None:  # a block that is compiled alone, or a layer between two graphs of a model
            call = _get(self._call) if torch.compiler.is_dynamo_compiling() else self._traced
        return None if call is None else call.frame

    @property
    def _own(self) -> "Call | None":
        return self._traced if torch.compiler.is_dynamo_compiling() else self._call.get()

    def _bind(self, call: "Call | None") -> None:
        if torch.compiler.is_dynamo_compiling():
            self._traced = call
        else:
            self._call.set(call)

    def layer_frame(self, layer: str) -> Frame | None:
        """Return the frame for a layer with an adapter.

        Raises:
            UserError: The base model reads the source through this layer, or a backward pass runs it again and its call
                is not known.
        """
        frame = self.frame
        if frame is READING:
            raise UserError(
                f"{layer}: the base model reads the source, but its call reached a layer with an adapter; a module of "
                "this model refers to others in a way that is not supported"
            )
        if frame is None and not torch.compiler.is_dynamo_compiling() and in_backward():
            raise UserError(
                f"{layer}: activation checkpointing runs this layer again, and its source is not known; use the "
                "model's own gradient_checkpointing_enable(), or checkpoint whole blocks with use_reentrant=False"
            )
        return frame

    def enter_block(self, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Note the call on a block's input, or find there the call that is run again (a forward pre-hook)."""
        if torch.compiler.is_dynamo_compiling() or not torch.is_grad_enabled():
            return
        states = hidden_states(args, kwargs)
        if self._call.get() is not None:
            tag(states)
        elif in_backward():
            bind_tagged(self._call, states)

    def leave_block(self, block: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """Release a call that was found on a block's input; the next block finds it on this one's output."""
        if torch.compiler.is_dynamo_compiling() or not torch.is_grad_enabled() or not in_backward():
            return
        first = output[0] if isinstance(output, tuple) else output
        if self._call.get() is not None and isinstance(first, Tensor):
            tag(first)
        self._call.set(None)


def _bound(call: Local[Call]) -> Call | None:
    return call.get()


_get = cast(Callable[[Local[Call]], Call | None], torch.compiler.disable(_bound))
