"""How many operations, passes and bytes a piece of work has, and the seconds that a card takes for them."""

from dataclasses import dataclass
from math import ceil

from crossflare.experiment.costs.shapes import Accelerator, ModelShape

SHARE = 0.35
"""The share of a card's peak that matrix products of 16 bits reach. Assumed."""
SHARE_4BIT = 0.25
"""The same where 4-bit weights are unpacked before each product. Assumed."""
LAUNCH = 0.6e-3
"""The least seconds of one pass through a block, forward or backward: Python starts its kernels one by one. Assumed."""
LOADING = 2e9
"""The bytes a second with which a model is read from disk when a step begins. Assumed."""
NF4 = 0.5 + 4 / 64
"""The bytes of a 4-bit weight with its share of a scale in float32 for 64 weights."""


@dataclass(frozen=True, slots=True)
class Operations:
    """A piece of work; pieces are added."""

    flops: float = 0.0
    passes: float = 0.0
    """Passes of a batch through a block, forward or backward."""
    moved: float = 0.0
    """Bytes of weights that are read for these passes."""

    def __add__(self, other: "Operations") -> "Operations":
        return Operations(self.flops + other.flops, self.passes + other.passes, self.moved + other.moved)

    def __mul__(self, times: float) -> "Operations":
        return Operations(self.flops * times, self.passes * times, self.moved * times)

    def seconds(self, card: Accelerator, quantised: bool = False) -> float:
        """Return the time by whatever is scarcest: operations, the start of kernels, or reading the weights."""
        share = SHARE_4BIT if quantised else SHARE
        return max(self.flops / (share * card.flops), LAUNCH * self.passes, self.moved / card.bandwidth)


def weight_bytes(quantised: bool) -> float:
    """Return the bytes that move for one weight in one pass: read, and written and read again in 16 bits."""
    return (NF4 if quantised else 4) + 4


def forward(shape: ModelShape, rows: float, tokens: float, batch: int, moved: float = 8.0) -> Operations:
    """Return one pass over `rows` rows of `tokens` tokens each, in batches.

    A multiplication and an addition for each weight and token, and for each pair of tokens in attention. A model with
    both stacks reads the row with its encoder and a few tokens with its decoder, which count as none.
    """
    stack, blocks = (shape.reading, shape.encoder) if shape.encoder else (shape.writing, shape.decoder)
    attention = 4 * blocks * shape.heads * shape.head_size * tokens
    batches = ceil(rows / batch) if rows else 0
    started = shape.blocks if shape.encoder and shape.decoder else blocks
    return Operations(rows * tokens * (2 * stack + attention), batches * started, batches * moved * shape.linear)


def training(shape: ModelShape, rows: float, tokens: float, batch: int, moved: float, *, whole: bool) -> Operations:
    """Return forward and backward: the backward pass is as dear again; twice that where all weights learn (`whole`)."""
    once = forward(shape, rows, tokens, batch, moved)
    return once + once * (2 if whole else 1)


def writing(shape: ModelShape, rows: float, tokens: float, together: int, moved: float, beams: int = 1) -> Operations:
    """Return the writing of `tokens` tokens for each row, token by token, `together` rows at once."""
    steps = ceil(rows / together) * tokens if rows else 0
    output = shape.vocabulary * shape.hidden
    return Operations(
        2 * rows * beams * tokens * (shape.writing + output),
        steps * shape.decoder,
        steps * moved * (shape.writing + output),
    )
