"""Calls that are made once a library is imported, whenever that is; until then they cost nothing.

wrapt does the work. It takes as long to import as the command line itself, so it is imported with the first library
that a call waits for.
"""

import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType


class _Waiting:
    """A finder of modules that finds nothing itself: it hands a library to wrapt when the library is first imported."""

    def __init__(self) -> None:
        self.calls: dict[str, list[Callable[[ModuleType], None]]] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the module's place from the other finders, and register the calls to make after its import."""
        calls = self.calls.pop(fullname, None)
        if calls is None:
            return None
        import wrapt

        for call in calls:
            wrapt.register_post_import_hook(call, fullname)
        return find_spec(fullname)


_waiting = _Waiting()
sys.meta_path.insert(0, _waiting)


def when_imported(library: str, call: Callable[[ModuleType], None]) -> None:
    """Call a function with a library once it is imported; at once if it is.

    Args:
        library: A package without a dot in its name.
        call: The function, which must not fail.
    """
    if library in sys.modules:
        call(sys.modules[library])
    else:
        _waiting.calls.setdefault(library, []).append(call)
