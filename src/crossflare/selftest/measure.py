"""What a law measures: how far apart two results are, and how far they may or must be."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

CLOSE = 1e-3
"""What is equal in theory differs by less: float32 gives up to 5e-5 here, a broken law 3e-2 and more."""
SEEN = 1e-2
"""What must have an effect on these models has a larger one."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One comparison; a difference that is not a number never holds."""

    what: str
    """What was compared, in words."""
    difference: float
    """The largest difference (of `differ`: the smallest), as a share of the largest value where that is above 1."""
    bound: float
    least: bool = False
    """Whether the difference must be at least the bound, not at most."""

    @property
    def holds(self) -> bool:
        """Whether the difference is on the right side of its bound."""
        return self.difference >= self.bound if self.least else self.difference <= self.bound

    def __str__(self) -> str:
        """Return one line with the numbers."""
        side = "least" if self.least else "most"
        return f"{self.what}: {self.difference:.2g} apart, expected at {side} {self.bound:g}"


Measures = Iterator[Measure]


def agree(what: str, found: Tensor, expected: Tensor) -> Measure:
    """Measure two results that must be equal."""
    if found.shape != expected.shape:
        return Measure(f"{what}, shapes {tuple(found.shape)} and {tuple(expected.shape)}", float("inf"), CLOSE)
    return Measure(what, float(_apart(found, expected).max()), CLOSE)


def differ(what: str, one: Tensor, other: Tensor) -> Measure:
    """Measure two results of which every row must differ; the row that differs least counts."""
    return Measure(what, float(_apart(one, other).flatten(1).amax(1).min()), SEEN, least=True)


def _apart(one: Tensor, other: Tensor) -> Tensor:
    one, other = (each.detach().cpu().double() for each in (one, other))  # first to the CPU: not all have float64
    return (one - other).abs() / max(1.0, float(other.abs().max()))
