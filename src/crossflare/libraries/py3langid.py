"""What crossflare uses of py3langid beyond its documented API: one identifier of our own, with probabilities.

The module's `classify` keeps a state that all callers share, and its scores are no probabilities.
"""

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

from crossflare.libraries import guard


def load_ranker() -> Callable[[str], Mapping[str, float]] | None:
    """Return what gives each language's probability for a text, by the package's codes; None: it is not installed.

    Raises:
        LibraryError: The package has another form.
    """
    if find_spec("py3langid") is None:
        return None
    make: Any = guard.name("py3langid.langid:LanguageIdentifier.from_model_file")
    identifier = make(guard.name("py3langid.langid:MODEL_FILE"), norm_probs=True)
    rank: Callable[[str], list[tuple[str, float]]] = guard.part("py3langid", identifier, "rank")
    return lambda text: dict(rank(text))
