"""What `validate`, `run --dry-run` and `run` refuse, all three in the same words, before anything is made.

Whatever depends on rows, languages, translators or a model's configuration is looked for here: a recipe that passes
fails later only for what nobody can know before (a full disk, weights that are damaged, a loss that is no number).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from crossflare.errors import Kind, UserError
from crossflare.experiment.steps.context import Context
from crossflare.recipe.spec import Spec
from crossflare.recipe.strict_yaml import GatheredError


class _Wrong:
    """Mistakes by the cells that have them."""

    def __init__(self) -> None:
        self._found: dict[str, list[str]] = {}
        self._kinds: list[Kind] = []

    def add(self, context: Context, error: UserError | str) -> None:
        self._kinds.append(error.kind if isinstance(error, UserError) else "usage")
        lines = error.lines if isinstance(error, GatheredError) else (str(error),)
        for line in lines:
            names = self._found.setdefault(line, [])
            if (name := context.cell) not in names:
                names.append(name)

    def stop(self) -> None:
        if self._found:
            raise GatheredError((line + self._named(names) for line, names in self._found.items()), self._kinds[0])

    def _named(self, names: list[str]) -> str:
        if names == [""]:
            return ""
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        return f" (cells {'; '.join(names[:3])}{more})"


def check(contexts: Sequence[Context], *, fetch: bool = True) -> None:
    """Refuse recipes that cannot be run to their end.

    Args:
        contexts: One for each cell.
        fetch: Whether rows, configurations and tokenizers on the hub may be fetched; else what is not on this machine
            is left unlooked at.

    Raises:
        GatheredError: One line for each mistake, with the cells that have it.
    """
    wrong = _Wrong()
    for context in contexts:
        for line in missing_paths(context.spec):
            wrong.add(context, line)
    wrong.stop()
    there = [context for context in contexts if fetch or not context.data.fetched]
    for context in there:
        try:
            context.data.check()  # the rows first: their outlines are gone when models are looked at
        except UserError as error:
            wrong.add(context, error)
    wrong.stop()
    from crossflare.experiment.promise.engines import check_engines
    from crossflare.experiment.promise.models import check_models

    for context in contexts:
        for line in check_engines(context.data, fetch=fetch):
            wrong.add(context, line)
    for context, line in check_models(there, fetch=fetch):
        wrong.add(context, line)
    wrong.stop()


def missing_paths(spec: Spec) -> list[str]:
    """Return a line for each file or folder that a recipe names as a place on this machine, and that is not there."""
    found: dict[str, Any] = {"task.folder": spec.task.folder}
    found |= {
        f"task.files.{language}.{part}": path
        for language, parts in spec.task.files.items()
        for part, path in parts.items()
    }
    if spec.model.name.startswith("/"):
        found["model.name"] = spec.model.name
    return [
        f"{name}: expected a file or folder at {path}, found none"
        for name, path in found.items()
        if path is not None and not Path(path).exists()
    ]
