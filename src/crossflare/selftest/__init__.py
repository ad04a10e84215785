"""The laws that the method rests on, tested in seconds on tiny models, with the libraries and device in use.

The result of a law is defined here, apart from the laws, so that it can be shown even if torch cannot be imported.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of one law."""

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
