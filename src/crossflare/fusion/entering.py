"""The check, in the first pass over a source, of the states that enter the fusing projections.

Source states reach a projection in the way that `blocks.input_norm` gives for the model's own states: through the
block's norm, or unchanged. A model that does anything else would silently be fused with states that it never saw.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from crossflare.errors import UserError
from crossflare.fusion.blocks import Site, input_norm
from crossflare.fusion.frame import keep_input, keep_output
from crossflare.libraries.torch import unwrapped


@dataclass(frozen=True, eq=False)
class Passage:
    """The way from a block's input to a projection of its self-attention."""

    site: Site
    block: nn.Module
    norm: nn.Module | None
    projection: nn.Module


def find_passages(model: nn.Module, sites: Iterable[Site]) -> list[Passage]:
    """Return the passages to the projections that fuse; those of cross-attention are left out.

    Args:
        model: A model with its adapters. Wrappers that are put around its blocks later do no harm.
        sites: The projections.
    """
    part = model.get_submodule
    return [
        Passage(site, unwrapped(part(f"{site.stack}.{site.block}")), input_norm(model, site), part(site.name))
        for site in sites
        if site.role == "self"
    ]


@dataclass
class _Seen:
    """The states that one pass brought along a passage."""

    passage: Passage
    into_block: list[Tensor] = field(default_factory=list[Tensor])
    into_norm: list[Tensor] = field(default_factory=list[Tensor])
    out_of_norm: list[Tensor] = field(default_factory=list[Tensor])
    entered: list[Tensor] = field(default_factory=list[Tensor])


class Watch:
    """An observer of one pass of a view of a model (see `reading.base_view`)."""

    def __init__(self, model: nn.Module, passages: Iterable[Passage]) -> None:
        """Take a model and the passages to observe."""
        self._name = type(model).__name__
        self._seen = [_Seen(passage) for passage in passages]
        self._handles: list[RemovableHandle] = []

    @property
    def modules(self) -> list[nn.Module]:
        """The modules whose copies must have tables of hooks of their own."""
        found = [
            each for seen in self._seen for each in (seen.passage.block, seen.passage.norm, seen.passage.projection)
        ]
        return [each for each in found if each is not None]

    def begin(self, twins: Mapping[int, nn.Module]) -> None:
        """Observe the next pass of the view that has these modules."""
        for seen in self._seen:
            before = {seen.passage.block: seen.into_block, seen.passage.projection: seen.entered}
            if seen.passage.norm is not None:
                before[seen.passage.norm] = seen.into_norm
                self._handles.append(twins[id(seen.passage.norm)].register_forward_hook(keep_output(seen.out_of_norm)))
            for module, states in before.items():
                hook = keep_input(states)
                self._handles.append(twins[id(module)].register_forward_pre_hook(hook, with_kwargs=True))

    def end(self) -> bool:
        """Stop observing; return whether every block ran.

        Raises:
            UserError: The states that entered a projection are not those that the passage gives.
        """
        for handle in self._handles:
            handle.remove()
        ran = [seen for seen in self._seen if seen.entered]
        for seen in ran:
            if not _as_known(seen):
                raise UserError(self._refusal(seen))
        return len(ran) == len(self._seen)

    def _refusal(self, seen: _Seen) -> str:
        norm, site = seen.passage.norm, seen.passage.site
        through = "" if norm is None else f" through {type(norm).__name__}"
        known = f"the input of block {site.block}{through}"
        said = f"{self._name}: expected {known} to enter {site.name}, found something else"
        if not seen.into_block or seen.entered[0].shape != seen.into_block[0].shape:
            return f"{said}; this architecture is not supported: take another model"
        return f"{said}; take another model, or set source_norm=False in FlareConfig to fuse the source's states raw"


def _as_known(seen: _Seen) -> bool:
    if not seen.into_block:  # the block ran without its hooks
        return False
    if seen.passage.norm is None:
        return _equal(seen.entered[0], seen.into_block[0])
    if not seen.into_norm:
        return False
    return _equal(seen.into_norm[0], seen.into_block[0]) and _equal(seen.entered[0], seen.out_of_norm[0])


def _equal(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors hold the same numbers, once the second is cast to the type of the first."""
    if one is other:
        return True
    if one.shape != other.shape:
        return False
    return bool(torch.isclose(one, other.to(one), rtol=0.0, atol=0.0, equal_nan=True).all())
