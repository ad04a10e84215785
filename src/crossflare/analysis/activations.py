"""Mean activations in the bottleneck: what each of the r coordinates is for source, target and fused states.

The paper shows them for the first query layer that fuses (English against Acehnese on NusaX).
"""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from crossflare.analysis.opening import Adapter
from crossflare.analysis.watching import fusing_layers, query_of, replaced, seen
from crossflare.errors import UserError
from crossflare.evaluation.metrics import FloatArray
from crossflare.fusion.alignment import Pairing

STATES = ("source", "target", "fused")
"""lora_A(v_source), lora_A(x), and phi of both."""


@dataclass(frozen=True)
class Activations:
    """Means over the real tokens of all rows that have a source."""

    layer: str
    means: dict[str, FloatArray]
    """State -> [r]."""
    tokens: dict[str, int]
    """State -> tokens that the mean is over."""


def mean_activations(adapter: Adapter, block: int | None = None) -> Activations:
    """Return the mean of each bottleneck coordinate in one query layer.

    Args:
        adapter: What reads.
        block: Which; None: the first that fuses.

    Raises:
        UserError: The block does not fuse, or no row has a source.
    """
    layer = query_of(fusing_layers(adapter.model), block)
    sums: dict[str, FloatArray] = {}
    tokens: dict[str, int] = dict.fromkeys(STATES, 0)

    def see(source: Tensor, target: Tensor, fused: Tensor, pairing: Pairing) -> None:
        has_source = pairing.source_mask.any(1, keepdim=True)
        real = pairing.target_mask & has_source
        for state, values, mask in zip(STATES, (source, target, fused), (pairing.source_mask, real, real), strict=True):
            kept = values[mask].cpu().double().sum(0).numpy()  # an Apple GPU has no float64
            sums[state] = sums.get(state, np.zeros_like(kept)) + kept
            tokens[state] += int(mask.sum())

    with replaced([layer], lambda phi: seen(phi, see)):
        adapter.predict()
    if not tokens["source"]:
        raise UserError(f"{adapter.step.label}: no test row has a source; nothing was fused")
    return Activations(layer.name, {state: sums[state] / tokens[state] for state in STATES}, tokens)
