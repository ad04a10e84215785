"""The laws that the method rests on, in small: a few seconds on tiny models, with the libraries and device in use.

How a law fared stands here, apart from the laws, so that it can be told even where torch cannot be imported.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one law fared."""

    law: str
    seconds: float
    failure: str = ""
    """One line with the first comparison that failed, or the error; empty when the law holds."""

    @property
    def ok(self) -> bool:
        """Whether the law holds."""
        return not self.failure


def in_one_line(error: Exception) -> str:
    """Return the type of an error and the first line of its message."""
    first = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first:.300}" if first else type(error).__name__
