"""Which forward pass a layer belongs to: each call of a model binds its frame, for itself alone."""

from typing import Any

import torch
from torch import Tensor, nn

from crossflare.errors import UserError
from crossflare.fusion.frame import READING, Frame
from crossflare.fusion.local import Local, bind_tagged, tag
from crossflare.fusion.sources import hidden_states
from crossflare.libraries.torch import in_backward


class Calls:
    """The calls of one model. Threads and tasks that call it at the same time see their own frame each.

    A block that activation checkpointing runs again in the backward pass sees the frame of its own forward: transformers'
    checkpointing carries it (`local.Carrying`); for a checkpoint around blocks from outside it is on the block's input.
    """

    def __init__(self) -> None:
        self._frame: Local[Frame] = Local()
        self._traced: Frame | None = None
        """The frame of a call under torch.compile, which cannot trace context variables."""

    def __getstate__(self) -> dict[str, object]:
        """Leave the frame out of copies: it belongs to a pass of the original, and holds its graph."""
        return {"_frame": Local(), "_traced": None}

    def open(self, frame: Frame | None) -> None:
        """Bind the frame of the call that begins; None: one without a source."""
        frame = Frame({}, None, {}, set()) if frame is None else frame
        if torch.compiler.is_compiling():
            self._traced = frame
        else:
            self._frame.set(frame)

    def close(self) -> None:
        """Let go of the frame."""
        if torch.compiler.is_compiling():
            self._traced = None
        else:
            self._frame.set(None)

    @property
    def frame(self) -> Frame | None:
        """The frame of the call that is going on; None when the model itself was not called."""
        return self._traced if self._traced is not None else self._bound()

    @torch.compiler.disable
    def _bound(self) -> Frame | None:
        return self._frame.get()

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
        if frame is None and not torch.compiler.is_compiling() and in_backward():
            raise UserError(
                f"{layer}: activation checkpointing runs this layer again, and its source is not known; use the model's "
                "own gradient_checkpointing_enable(), or checkpoint whole blocks with use_reentrant=False"
            )
        return frame

    def enter_block(self, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Note the call on a block's input, or find there which call is being run again (a forward pre-hook)."""
        if torch.compiler.is_compiling() or not torch.is_grad_enabled():
            return
        states = hidden_states(args, kwargs)
        if self._frame.get() is not None:
            tag(states)
        elif in_backward():
            bind_tagged(self._frame, states)

    def leave_block(self, block: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """Let go of a call that was found on a block's input; the next block finds it on this one's output."""
        if torch.compiler.is_compiling() or not torch.is_grad_enabled() or not in_backward():
            return
        first = output[0] if isinstance(output, tuple) else output
        if self._frame.get() is not None and isinstance(first, Tensor):
            tag(first)
        self._frame.set(None)
