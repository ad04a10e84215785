"""`mixed(p)`: which training rows have a round trip through the engine as their source, and which the original.

Test sources are machine-made; training on originals alone teaches the adapter to trust cleaner text than it will see.
"""

import hashlib
import re

from crossflare.errors import UserError

_MIXED = re.compile(r"mixed\((\d*\.?\d+)\)")


def mixed_share(text: str) -> float:
    """Return the p of `mixed(p)`, the share of rows that get the round trip.

    >>> mixed_share("mixed(0.3)")
    0.3

    Raises:
        UserError: Anything else, or a share above 1.
    """
    match = _MIXED.fullmatch(text)
    if match is None or (share := float(match[1])) > 1:
        raise UserError(f"train_source: expected mixed(p) with p from 0 to 1, got {text!r}")
    return share


def gets_round_trip(row: str, seed: int, share: float) -> bool:
    """Whether the row with this id gets the round trip; with one seed, rows that do also do at every larger share."""
    digest = hashlib.sha256(f"{seed}\0{row}".encode("utf-8", "surrogatepass")).digest()
    return (int.from_bytes(digest[:7]) >> 3) / 2**53 < share  # exact, and never rounded up to 1
