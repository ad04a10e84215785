"""What crossflare uses of py3langid beyond its documented API: an identifier of its own, with probabilities.

The module's `classify` keeps a state that all callers share, and its scores are no probabilities.
"""

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

from crossflare.libraries import guard


def load_ranker() -> Callable[[str], Mapping[str, float]] | None:
    """Return a function that gives each language's probability for a text; None if the package is not installed.

    The languages have the package's codes.

    Raises:
        LibraryError: The installed package lacks a name that is needed.
    """
    if find_spec("py3langid") is None:
        return None
    make: Any = guard.name("py3langid.langid:LanguageIdentifier.from_model_file")
    identifier = make(guard.name("py3langid.langid:MODEL_FILE"), norm_probs=True)
    rank: Callable[[str], list[tuple[str, float]]] = guard.part("py3langid", identifier, "rank")
    return lambda text: dict(rank(text))
