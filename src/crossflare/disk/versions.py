"""The format of every kind of file that crossflare keeps, declared only here, and the refusal of any other."""

from pathlib import Path
from typing import Literal

from crossflare.errors import UserError

Kept = Literal["a recipe", "a grid", "a record", "packed predictions", "results", "a card", "a manifest"]
FORMATS: dict[Kept, int] = {
    "a recipe": 1,
    "a grid": 1,
    "a record": 1,
    "packed predictions": 1,
    "results": 1,
    "a card": 1,
    "a manifest": 1,
}
"""Kind of file -> the format that is written, and the only one that is read."""


def check_format(what: Kept, found: object, where: str | Path, advice: str) -> None:
    """Refuse a file whose format is not the one that this crossflare reads.

    Args:
        what: The kind of file.
        found: The format that the file names; None if it names none.
        where: The file.
        advice: What to do about a file that is too old or damaged.

    Raises:
        UserError: The format is older, newer, missing or no whole number; the message names both formats.
    """
    known = FORMATS[what]
    if type(found) is int and found == known:  # True and 1.0 equal 1, and are no format
        return
    newer = "upgrade crossflare, or " if type(found) is int and found > known else ""
    said = "none" if found is None else f"{found!r:.40}"
    raise UserError(f"{where}: expected {what} of format {known}, got {said}; {newer}{advice}")
