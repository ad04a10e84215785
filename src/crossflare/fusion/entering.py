"""A look, in the first pass over a source, at what enters the fusing projections.

Source states are brought to a projection as `blocks.input_norm` says that the model brings its own: through the block's
norm, or as they are. A model that does anything else would be fused with states that it never saw, without a word.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from crossflare.errors import UserError
from crossflare.fusion.blocks import Site, input_norm
from crossflare.fusion.frame import keep_input, keep_output


@dataclass(frozen=True)
class _Way:
    """From a block's input to a projection of its self-attention; the lists hold what one pass brings."""

    site: Site
    block: nn.Module
    norm: nn.Module | None
    projection: nn.Module
    into_block: list[Tensor] = field(default_factory=list[Tensor])
    into_norm: list[Tensor] = field(default_factory=list[Tensor])
    out_of_norm: list[Tensor] = field(default_factory=list[Tensor])
    entered: list[Tensor] = field(default_factory=list[Tensor])


class Watch:
    """Sees one pass of a view of a model (see `reading.base_view`)."""

    def __init__(self, model: nn.Module, sites: Iterable[Site]) -> None:
        """Find the ways.

        Args:
            model: With its adapters.
            sites: The projections that fuse; those of cross-attention are left out.
        """
        self._name = type(model).__name__
        part = model.get_submodule
        self._ways = [
            _Way(site, part(f"{site.stack}.{site.block}"), input_norm(model, site), part(site.name))
            for site in sites
            if site.role == "self"
        ]
        self._handles: list[RemovableHandle] = []

    @property
    def modules(self) -> list[nn.Module]:
        """The modules whose copies must have tables of hooks of their own."""
        found = [each for way in self._ways for each in (way.block, way.norm, way.projection)]
        return [each for each in found if each is not None]

    def begin(self, twins: Mapping[int, nn.Module]) -> None:
        """Look at the next pass of the view whose modules these are."""
        for way in self._ways:
            before = {way.block: way.into_block, way.projection: way.entered}
            if way.norm is not None:
                before[way.norm] = way.into_norm
                self._handles.append(twins[id(way.norm)].register_forward_hook(keep_output(way.out_of_norm)))
            for module, seen in before.items():
                hook = keep_input(seen)
                self._handles.append(twins[id(module)].register_forward_pre_hook(hook, with_kwargs=True))

    def end(self) -> bool:
        """Stop looking; return whether every block ran.

        Raises:
            UserError: What entered a projection is not what source states become on their way there.
        """
        for handle in self._handles:
            handle.remove()
        ran = [way for way in self._ways if way.entered]
        for way in ran:
            if not _as_known(way):
                raise UserError(self._refusal(way))
        return len(ran) == len(self._ways)

    def _refusal(self, way: _Way) -> str:
        through = "" if way.norm is None else f" through {type(way.norm).__name__}"
        known = f"the input of block {way.site.block}{through}"
        said = f"{self._name}: expected {known} to enter {way.site.name}, found something else"
        if not way.into_block or way.entered[0].shape != way.into_block[0].shape:
            return f"{said}; this architecture is not supported: take another model"
        return f"{said}; take another model, or set source_norm=False in FlareConfig to fuse the source's states raw"


def _as_known(way: _Way) -> bool:
    if not way.into_block:  # the block ran without its hooks
        return False
    if way.norm is None:
        return _equal(way.entered[0], way.into_block[0])
    if not way.into_norm:
        return False
    return _equal(way.into_norm[0], way.into_block[0]) and _equal(way.entered[0], way.out_of_norm[0])


def _equal(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors hold the same numbers; a type that is narrower rounds them."""
    if one is other:
        return True
    if one.shape != other.shape:
        return False
    return bool(torch.isclose(one, other.to(one), rtol=0.0, atol=0.0, equal_nan=True).all())
