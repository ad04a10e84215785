"""The one error that a user's mistake raises, and the suggestions that go with it."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """Something that the user can mend: one line that says what was expected, what came, and what to do.

    The command line prints the line without a traceback and exits with 2.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


def nearest(name: str, options: Iterable[str]) -> str:
    """Return a clause for the end of a message: the nearest of `options` to `name`, or all of them when few.

    >>> nearest("flair", ["flare", "lora"])
    "did you mean 'flare'? (known: flare, lora)"
    """
    known = sorted(options)
    close = get_close_matches(name, known, n=1, cutoff=0.6)
    guess = f"did you mean '{close[0]}'? " if close else ""
    return f"{guess}(known: {listed(known)})" if guess else f"known: {listed(known)}"


def listed(names: Iterable[str], most: int = 12, width: int = 40) -> str:
    """Return names with commas between: so many of them, each cut to a width."""
    known = list(names)
    shown = ", ".join(name if len(name) <= width else f"{name[: width - 3]}..." for name in known[:most])
    return shown + (f", and {len(known) - most} more" if len(known) > most else "")


def choose(kind: str, name: str, options: Iterable[str]) -> str:
    """Return `name` when it is one of `options`; else raise `UserError` with the nearest ones."""
    options = list(options)
    if name not in options:
        raise UserError(f"unknown {kind} '{name}': {nearest(str(name), options)}")
    return name
