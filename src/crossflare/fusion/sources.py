"""Where the source states come from, and the slot through which one forward pass hands them to every fusing layer."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from crossflare.errors import UserError
from crossflare.fusion.alignment import Anchor, Pairing, attention, position, proportional, whole


class ModelStates:
    """The states of the same base model reading the source: one per block, before and after (DESIGN: v_source)."""

    def __init__(self, states: list[Tensor], mask: Tensor) -> None:
        """Take L+1 states [B,S,d] (the input of block 0, then the output of each block) and a mask [B,S] bool."""
        if any(state.shape[:2] != mask.shape for state in states):
            shapes = sorted({tuple(state.shape) for state in states})
            raise UserError(
                f"source states {shapes} do not fit their mask {tuple(mask.shape)}; expected [B,S,d], [B,S]"
            )
        self.states = states
        self.mask = mask

    def at(self, block: int, lead: int, projection: nn.Module | None) -> Tensor:
        """Return v_source [B,S,d] for a projection in `block`: the state before it (lead 0) or after it (lead 1)."""
        del projection
        return self.states[block + lead]


class LatentStates:
    """The states of a translation model's encoder reading the target text, the same for every block (FLARE MT)."""

    def __init__(self, latents: Tensor, mask: Tensor) -> None:
        """Take the encoder's last states [B,S,d_mt] and their mask [B,S] bool."""
        if latents.shape[:2] != mask.shape:
            raise UserError(
                f"source_latents {tuple(latents.shape)} do not fit source_attention_mask {tuple(mask.shape)}; "
                "expected [B,S,d_mt] and [B,S]"
            )
        self.latents = latents
        self.mask = mask

    def at(self, block: int, lead: int, projection: nn.Module | None) -> Tensor:
        """Return Linear(latents) [B,S,d]; each caller projects anew: a checkpointed block owns its graph."""
        del block, lead
        assert projection is not None, "a layer that reads latents has their projection"
        return projection(self.latents.to(next(projection.parameters()).dtype))


SourceStates = ModelStates | LatentStates


@dataclass
class Frame:
    """One forward pass: the source states, which target tokens may fuse, and what is derived from both once."""

    source: SourceStates
    target_mask: Tensor
    """[B,T] bool."""
    anchor: Anchor
    logits: Tensor | None = None
    """The base model's own prediction for the source; rows without a source are NaN."""
    by_index: dict[str, Pairing] = field(default_factory=dict[str, Pairing])
    tokens: dict[int, Tensor] = field(default_factory=dict[int, Tensor])
    """Block -> the target states that its attention was called with, where a block projects other things too."""

    def pairing(self, alignment: str, target_states: Tensor, source_states: Tensor) -> Pairing:
        """Return the pairing for one projection; those that depend on masks alone are computed once."""
        if alignment == "attention":
            return attention(self.target_mask, self.source.mask, target_states, source_states)
        if alignment not in self.by_index:
            self.by_index[alignment] = self._by_masks(alignment)
        return self.by_index[alignment]

    def _by_masks(self, alignment: str) -> Pairing:
        masks = (self.target_mask, self.source.mask)
        if alignment == "position":
            return position(*masks, self.anchor)
        return proportional(*masks) if alignment == "proportional" else whole(*masks)


class Slot:
    """What the tuner and its layers share. The frame stays until the next forward pass when gradients are on.

    Activation checkpointing runs the layers again during backward, after the forward call has returned; clearing the
    frame with the call would silently change the gradients.
    """

    def __init__(self) -> None:
        self.frame: Frame | None = None
        self.reading = False
        """True during the source pass: every adapter layer is then its base layer."""

    def __getstate__(self) -> dict[str, object]:
        """Leave the frame out of copies: it belongs to a pass of the original, and holds its graph."""
        return {"frame": None, "reading": False}

    def clear(self) -> None:
        """Drop the frame."""
        self.frame = None


@contextmanager
def recorded(blocks: list[nn.Module]) -> Generator[list[Tensor]]:
    """Record the input of the first block and the output of every block of the forward pass that runs inside.

    Raises:
        UserError: Afterwards, when a block did not run exactly once.
    """
    states: list[Tensor] = []
    handles = [blocks[0].register_forward_pre_hook(_keep_input(states), with_kwargs=True)]
    handles += [block.register_forward_hook(_keep_output(states)) for block in blocks]
    try:
        yield states
    finally:
        for handle in handles:
            handle.remove()
    if len(states) != len(blocks) + 1:
        raise UserError(
            f"the source pass gave {len(states)} states for {len(blocks)} blocks, expected one more than blocks; "
            "this model does not run each block once and is not supported"
        )


def _keep_input(states: list[Tensor]) -> Callable[..., None]:
    def hook(module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        states.append(hidden_states(args, kwargs))

    return hook


def _keep_output(states: list[Tensor]) -> Callable[..., None]:
    def hook(module: nn.Module, args: tuple[object, ...], output: object) -> None:
        first = output[0] if isinstance(output, tuple) else output
        assert isinstance(first, Tensor), f"{type(module).__name__} returned {type(first).__name__}, not states"
        states.append(first)

    return hook


def hidden_states(args: tuple[object, ...], kwargs: dict[str, object]) -> Tensor:
    """Return the states that a transformers block or attention was called with: first argument or `hidden_states`."""
    first = args[0] if args else kwargs.get("hidden_states")
    assert isinstance(first, Tensor), "a transformers block takes its states first"
    return first


def real_rows(mask: Tensor) -> Tensor:
    """Return `mask` [B,S] with one token opened in rows that have none, so that attention over them stays finite."""
    empty = ~mask.any(1)
    opened = mask.clone()
    opened[:, 0] |= empty
    return opened


def drop_rows(mask: Tensor, probability: float) -> Tensor:
    """Return `mask` [B,S] with whole rows closed, each with `probability` (source dropout)."""
    kept = torch.rand(mask.shape[0], 1, device=mask.device) >= probability
    return mask & kept
