"""Which source text a training row gets: the original, or what a round trip through the engine made of it.

Test sources are machine-made; training on originals alone teaches the adapter to trust cleaner text than it will see.
"""

import hashlib
from dataclasses import dataclass
from typing import Literal

from crossflare.errors import UserError, choose

Kind = Literal["original", "roundtrip", "mixed"]


@dataclass(frozen=True, slots=True)
class SourceText:
    """A choice between the two texts of a row."""

    kind: Kind = "original"
    p: float = 0.5
    """With `mixed`: the share of rows that get the round trip."""

    def __post_init__(self) -> None:
        choose("kind of source text", self.kind, ("original", "roundtrip", "mixed"))
        if not 0.0 <= self.p <= 1.0:
            raise UserError(f"mixed source text: expected a share between 0 and 1, found {self.p}")

    @classmethod
    def parse(cls, text: str) -> "SourceText":
        """Read `original`, `roundtrip` or `mixed(p)`.

        >>> SourceText.parse("mixed(0.3)")
        SourceText(kind='mixed', p=0.3)

        Raises:
            UserError: Anything else.
        """
        if text in ("original", "roundtrip"):
            return cls(text)
        inside = text.removeprefix("mixed(").removesuffix(")")
        try:
            if text == f"mixed({inside})":
                return cls("mixed", float(inside))
        except UserError:
            raise
        except ValueError:
            pass
        raise UserError(f"source_text: expected original, roundtrip or mixed(p) with p from 0 to 1, found {text!r}")

    def machine_made(self, row: str, seed: int) -> bool:
        """Whether the row with this id gets the round trip; depends on nothing but the id, the seed and the choice.

        With the same seed, rows that get it at one `p` also get it at every larger one.
        """
        if self.kind != "mixed":
            return self.kind == "roundtrip"
        return share(row, seed) < self.p


def share(row: str, seed: int) -> float:
    """Return a number in [0, 1), uniform over ids and seeds."""
    digest = hashlib.sha256(f"{seed}\0{row}".encode("utf-8", "surrogatepass")).digest()
    return (int.from_bytes(digest[:7]) >> 3) / 2**53  # exact, and never rounded up to 1
