"""One forward pass as the fusing layers see it: for each stack of blocks its source states, and who pairs with whom."""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from crossflare.fusion.alignment import Anchor, Pairing, attention, identity, position, proportional, whole
from crossflare.fusion.sources import SourceStates

BY_INDEX = ("position", "proportional")
"""Alignments that depend on masks alone."""


@dataclass(frozen=True)
class Side:
    """What one stack of blocks fuses with. P columns are known to pair or not; this call has T of them, from `offset`.

    Without a key-value cache P = T and the offset is 0. Decoding with one, the prompt has P columns, and each step
    sees only its own: what it fuses with must be what the full pass would fuse there.
    """

    source: SourceStates
    fusing: Tensor
    """[B,P] bool: target tokens that pair with source tokens; of a decoder-only model the prompt."""
    anchor: Anchor = "start"
    causal: bool = False
    """Whether tokens after the last fusing one are an answer, which reads the source but pairs with none of it."""
    same: bool = False
    """Whether the source states are of the very same tokens (a decoder's), [B,T]."""
    offset: int = 0
    width: int | None = None
    """T; None: all P columns."""
    known: dict[str, Pairing] = field(default_factory=dict[str, Pairing])
    """Pairings of all P columns, by alignment."""

    @property
    def columns(self) -> int:
        """T."""
        return self.fusing.shape[1] if self.width is None else self.width

    def silent(self, alignment: str) -> bool:
        """Whether no token of this call can have a partner: an answer's, under an alignment by index."""
        return not self.same and alignment in BY_INDEX and self.offset >= self.fusing.shape[1]

    def pairing(self, alignment: str, target_states: Tensor, source_states: Tensor) -> Pairing:
        """Return the pairing [B,T] for one projection; those that depend on masks alone are computed once.

        Args:
            alignment: One of `ALIGNMENTS`.
            target_states: The projection's input [B,T,d].
            source_states: What it would be fused with [U,S,d].
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
        return whole(self._readers, self.source.mask)

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
        """Return the same side for another call of the same text; alignments by index are not computed again."""
        kept = {name: pairing for name, pairing in self.known.items() if name in BY_INDEX}
        return replace(self, offset=offset, width=width, known=kept)


@dataclass(eq=False)
class Frame:
    """One forward pass: the side of every stack, and what the source pass said."""

    sides: dict[str, Side]
    """Name of the list of blocks -> its side; a stack that is not here has no source."""
    logits: Tensor | None = None
    """The base model's own prediction for the source; rows without a source are NaN."""
    tokens: dict[int, Tensor] = field(default_factory=dict[int, Tensor])
    """Block -> the target states that its attention was called with, where a block projects other things too."""
    elsewhere: set[str] = field(default_factory=set[str])
    """Names of the projections that are projecting such other things now (DeBERTa's relative positions)."""


READING = Frame({})
"""Bound while the base model reads the source: no layer with an adapter may run then."""
