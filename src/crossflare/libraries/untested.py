"""One line about library versions that crossflare is not tested with: once, in a process and all that it starts."""

import os
import warnings
from functools import cache

from crossflare.libraries.guard import untested

SAID = "CROSSFLARE_UNTESTED_SAID"
"""Environment variable that holds the line once it was said: workers inherit it, and are silent."""


class UntestedVersions(UserWarning):
    """A library's version is outside of the range that crossflare is tested with."""


@cache
def line() -> str | None:
    """Return the line, None where every version is a tested one; only packages' metadata is read."""
    found = untested()
    return f"{', '.join(found)}: run `crossflare doctor --self-test`" if found else None


def news() -> str | None:
    """Return the line when it is still to be said, and take it as said."""
    text = line()
    if text is None or os.environ.get(SAID) == text:
        return None
    os.environ[SAID] = text
    return text


def warn_once() -> None:
    """Warn, as a library does, of versions that are not tested; call it from what the user calls."""
    text = news()
    if text is not None:
        warnings.warn(text, UntestedVersions, stacklevel=3)
