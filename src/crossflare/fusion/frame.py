"""One forward pass as the fusing layers see it: each stack's source states, and which tokens pair."""

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from crossflare.errors import UserError
from crossflare.fusion.alignment import Anchor, Pairing, attention, identity, pair_nothing, position, proportional


class _Shared:
    """The states of U source texts, which B >= U target rows read."""

    mask: Tensor
    """[B,S] bool: the source tokens that each target row reads."""
    rows: Tensor | None = None
    """[B] int64: which source each target row reads; None: its own, U = B."""

    def spread(self, values: Tensor) -> Tensor:
        """Return values of the sources [U,...] as each target row reads them [B,...]."""
        return values if self.rows is None else values[self.rows]

    def _for(self, targets: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the sources [V] that some target rows read, and which of these each row reads; None: its own."""
        if self.rows is None:
            return targets, None
        sources, rows = self.rows[targets].unique(return_inverse=True)
        return sources, rows


class ModelStates(_Shared):
    """The states of the same base model that reads the source, before and after each block (v_source)."""

    def __init__(
        self, states: list[Tensor], mask: Tensor, final: Tensor | None = None, rows: Tensor | None = None
    ) -> None:
        """Take L+1 states [U,S,d]: the input of block 0, then the output of each block.

        `mask` is [B,S] bool, `final` is the encoder output that a decoder reads [U,S,d], `rows` is as in the class.
        """
        known = mask if rows is None else mask[: len(states[0])]
        if any(state.shape[:2] != known.shape for state in states):
            shapes = sorted({tuple(state.shape) for state in states})
            raise UserError(
                f"source states {shapes} do not fit their mask {tuple(mask.shape)}; expected [B,S,d], [B,S]"
            )
        self.states, self.mask, self.final, self.rows = states, mask, final, rows
        self._kept: Tensor | None = None
        """Which of the sources in `states` are meant; None: all."""

    def at(self, block: int, lead: int, projection: nn.Module | None) -> Tensor:
        """Return v_source [U,S,d] for a projection in `block`: the state before it (lead 0) or after it (lead 1)."""
        del projection
        states = self.states[block + lead]
        return states if self._kept is None else states[self._kept]

    def part(self, targets: Tensor) -> "ModelStates":
        """Return the states that some of the target rows read, by their indices [b] in ascending order."""
        part = copy(self)
        part._kept, part.rows = self._for(targets)
        part.mask, part.final = self.mask[targets], None if self.final is None else self.final[part._kept]
        return part


class LatentStates(_Shared):
    """The states of a translation model's encoder that reads the target text, the same for every block (FLARE MT)."""

    def __init__(self, latents: Tensor, mask: Tensor, rows: Tensor | None = None) -> None:
        """Take the encoder's last states [U,S,d_mt], their mask [B,S] bool and rows [B]."""
        if latents.shape[:2] != (mask if rows is None else mask[: len(latents)]).shape:
            raise UserError(
                f"source_latents {tuple(latents.shape)} do not fit source_attention_mask {tuple(mask.shape)}; "
                "expected [B,S,d_mt] and [B,S]"
            )
        self.latents, self.mask, self.rows = latents, mask, rows

    def at(self, block: int, lead: int, projection: nn.Module | None) -> Tensor:
        """Return Linear(latents) [U,S,d]; each caller projects again, since a checkpointed block owns its graph."""
        del block, lead
        assert projection is not None, "a layer that reads latents has their projection"
        return projection(self.latents.to(next(projection.parameters()).dtype))

    def part(self, targets: Tensor) -> "LatentStates":
        """Return the states that some of the target rows read, by their indices [b] in ascending order."""
        sources, rows = self._for(targets)
        part = copy(self)
        part.latents, part.mask, part.rows = self.latents[sources], self.mask[targets], rows
        return part


SourceStates = ModelStates | LatentStates


def keep_input(states: list[Tensor]) -> Callable[..., None]:
    """Return a forward pre-hook that appends a block's input states."""

    def hook(module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        states.append(hidden_states(args, kwargs))

    return hook


def keep_output(states: list[Tensor]) -> Callable[..., None]:
    """Return a forward hook that appends a block's output states."""

    def hook(module: nn.Module, args: tuple[object, ...], output: object) -> None:
        first = output[0] if isinstance(output, tuple | list) else output
        assert isinstance(first, Tensor), f"{type(module).__name__} returned {type(first).__name__}, not states"
        states.append(first)

    return hook


def hidden_states(args: tuple[object, ...], kwargs: dict[str, object]) -> Tensor:
    """Return the states that a transformers block or attention was called with: first argument or `hidden_states`."""
    first = args[0] if args else kwargs.get("hidden_states")
    assert isinstance(first, Tensor), "a transformers block takes its states first"
    return first


def real_rows(mask: Tensor) -> Tensor:
    """Return `mask` [B,S] with one token opened in rows that have none, so that attention over them stays finite.

    It is the last column if all other rows end there (left padding), otherwise the first. No branch depends on values,
    so that a traced graph can follow.
    """
    empty = ~mask.any(1)
    last = (mask[:, -1] | empty).all().long() * (mask.shape[1] - 1)
    return mask | (empty[:, None] & (torch.arange(mask.shape[1], device=mask.device) == last))


def with_stand_ins(tokens: Tensor, mask: Tensor, end: int | None) -> dict[str, Tensor]:
    """Return tokens and mask [B,S], where rows without a source hold the text of a row that has one.

    The states of these rows are never used. If no row has a source, the opened token is `end`.
    """
    real, empty = real_rows(mask), ~mask.any(1, keepdim=True)
    like = empty.long().argmin(0)  # [1]: the first row with a source
    nobody = empty.all()
    if end is not None:
        tokens = torch.where(nobody & real, end, tokens)
    return {
        "input_ids": torch.where(empty & ~nobody, tokens[like], tokens),
        "attention_mask": torch.where(empty & ~nobody, mask[like], real).long(),
    }


def drop_rows(mask: Tensor, probability: float) -> Tensor:
    """Return `mask` [B,S] with whole rows closed, each with `probability` (source dropout)."""
    kept = torch.rand(mask.shape[0], 1, device=mask.device) >= probability
    return mask & kept


BY_INDEX = ("position", "proportional")
"""Alignments that depend on masks alone."""


@dataclass(frozen=True)
class Side:
    """What one stack of blocks fuses with: P columns may pair, and this call has T of them, from `offset` on.

    Without a key-value cache P = T and the offset is 0. When decoding with one, the prompt has P columns, and each step
    has only its own columns. It must fuse with what the full pass would fuse there.
    """

    source: SourceStates
    fusing: Tensor
    """[B,P] bool: target tokens that pair with source tokens; in a decoder-only model, the prompt."""
    anchor: Anchor = "start"
    causal: bool = False
    """Whether tokens after the last fusing one are an answer, which reads the source but pairs with none of it."""
    same: bool = False
    """Whether the source states belong to the same tokens as the target's (in a decoder), [B,T]."""
    offset: int = 0
    width: int | None = None
    """T; None: all P columns."""
    known: dict[str, Pairing] = field(default_factory=dict[str, Pairing])
    """Pairings of all P columns, by alignment."""

    @property
    def columns(self) -> int:
        """T, the columns of this call."""
        return self.fusing.shape[1] if self.width is None else self.width

    def silent(self, alignment: str) -> bool:
        """Return whether no token of this call can have a partner: all are an answer's, and alignment is by index."""
        return not self.same and alignment in BY_INDEX and self.offset >= self.fusing.shape[1]

    def pairing(self, alignment: str, target_states: Tensor, source_states: Tensor) -> Pairing:
        """Return the pairing [B,T] for one projection; compute a pairing that depends on masks alone only once.

        Args:
            alignment: One of `ALIGNMENTS`.
            target_states: The projection's input [B,T,d].
            source_states: The source states to fuse with [U,S,d].
        """
        if alignment == "attention" and not self.same:
            return attention(self._readers, self.source.mask, target_states, self.source.spread(source_states))
        if alignment not in self.known:
            self.known[alignment] = self._by_masks(alignment)
        return self.known[alignment].columns(self.offset, self.columns)

    def _by_masks(self, alignment: str) -> Pairing:
        if self.same:
            return identity(self.fusing, self.source.mask)
        if alignment == "position":
            return position(self.fusing, self.source.mask, self.anchor)
        if alignment == "proportional":
            return proportional(self.fusing, self.source.mask)
        assert alignment == "none", f"an alignment that nothing computes: {alignment}"
        return pair_nothing(self._readers, self.source.mask)

    @property
    def _readers(self) -> Tensor:
        """[B,T] bool: the tokens of this call that may read the whole source."""
        fusing = self.fusing
        if self.causal:
            fusing = fusing | (fusing.flip(1).cumsum(1).flip(1) == 0)  # all that comes after the last fusing token
        missing = max(0, self.offset + self.columns - fusing.shape[1])
        padded = torch.nn.functional.pad(fusing, (0, missing), value=self.causal)
        return padded[:, self.offset : self.offset + self.columns]

    def at(self, offset: int, width: int) -> "Side":
        """Return the same side for another call of the same text; keep the alignments by index."""
        kept = {name: pairing for name, pairing in self.known.items() if name in BY_INDEX}
        return replace(self, offset=offset, width=width, known=kept)

    def part(self, targets: Tensor) -> "Side":
        """Return the same side for some of the target rows, by their indices [b] in ascending order."""
        return replace(self, source=self.source.part(targets), fusing=self.fusing[targets], known={})


@dataclass(eq=False)
class Frame:
    """One forward pass: the side of every stack, and the prediction of the source pass."""

    sides: dict[str, Side]
    """The name of a list of blocks -> its side; a stack that is not here has no source."""
    logits: Tensor | None = None
    """The base model's own prediction for the source; rows without a source are NaN."""
    tokens: dict[int, Tensor] = field(default_factory=dict[int, Tensor])
    """Block -> the target states that its attention was called with, where a block projects other things too."""
    elsewhere: set[str] = field(default_factory=set[str])
    """Names of the projections that are projecting such other things now (DeBERTa's relative positions)."""
    parts: "Mapping[str, Frame] | None" = None
    """Adapter -> the frame of its rows, in a call that mixes adapters."""

    def of(self, adapter: str) -> "Frame":
        """Return the frame of an adapter's rows."""
        return self if self.parts is None else self.parts[adapter]

    def split(self, rows_of: Callable[[int], Mapping[str, Tensor]]) -> "Frame":
        """Return the frame of a call whose rows belong to several adapters.

        Args:
            rows_of: The number of rows -> the indices of each adapter's rows, in ascending order.
        """
        count = next((len(side.fusing) for side in self.sides.values()), 0)
        if count == 0:
            return self
        return replace(
            self,
            parts={
                adapter: replace(self, sides={name: side.part(of) for name, side in self.sides.items()})
                for adapter, of in rows_of(count).items()
            },
        )


READING = Frame({})
"""Bound while the base model reads the source: no layer with an adapter may run then."""
