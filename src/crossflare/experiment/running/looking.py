"""The look at the data before a run starts; the report shows it."""

import json
import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from crossflare.disk.files import content_id, write_atomic, write_json
from crossflare.errors import UserError
from crossflare.evaluation.folder import RunFiles
from crossflare.experiment.steps.context import Context
from crossflare.inspection.found import Look
from crossflare.inspection.looks import look_at
from crossflare.inspection.remarks import warnings_of
from crossflare.recipe.templates import fields_of

_log = logging.getLogger(__name__)
MOST = 20_000
"""The most rows whose characters and tokens a run looks at; if there are more, it looks at every k-th row."""


def looks_of(contexts: Sequence[Context]) -> list[Look]:
    """Look at all rows of recipes; cells with the same rows and base are looked at once.

    Raises:
        UserError: See `look_at`.
    """
    once = {_key(context): context for context in reversed(contexts)}
    return [look_at(context.spec, context.data.set) for context in reversed(once.values())]


def write_test_rows(contexts: Sequence[Context], folder: Path) -> list[Path]:
    """Write each target's test rows with their ids, for a system that is to answer them; without their labels.

    Args:
        contexts: One recipe, or the cells of a grid over the same rows.
        folder: The folder of the files, one for each language, which are replaced.

    Raises:
        UserError: Cells have different rows in one language, or the rows cannot be read or written.
    """
    made: dict[Path, str] = {}
    for context in contexts:
        fields = fields_of(context.spec.task.asks, context.data.task.text_count)
        for language in context.spec.targets:
            rows = context.data.test(language, "none")
            cells = ({"id": e.id, **dict(zip(fields, e.texts, strict=True))} for e in rows)
            text = "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in cells)
            path = folder / f"{language}.jsonl"
            if made.setdefault(path, text) != text:
                raise UserError(f"{path}: the grid's cells have different test rows in '{language}'; give one cell")
    for path, text in made.items():
        write_atomic(path, text)
    return list(made)


def look_before(contexts: Sequence[Context]) -> list[str]:
    """Look at the rows of the run, write the look into each folder, and return the warnings.

    A look that was written before for the same rows and base is read instead. If a look fails, the run goes on.
    """
    seen: dict[str, Look | None] = {}
    lines: list[str] = []
    for context in contexts:
        files, key = RunFiles(context.folder), _key(context)
        look = None
        with suppress(UserError):
            kept = files.read_look()
            if isinstance(kept, dict) and kept.get("key") == key:
                look = Look.of(kept["look"], str(files.look))
        if look is None:
            look = seen[key] = seen[key] if key in seen else _quick_look(context)
            if look is not None:
                write_json(files.look, {"key": key, "look": look.values()})
        if look is not None:
            lines += warnings_of(look)
            lines += _some(look)
    return list(dict.fromkeys(lines))


def _quick_look(context: Context) -> Look | None:
    sizes = {place: part.used for place, part in context.data.check().items()}
    try:
        return look_at(context.spec, context.data.set, sizes=sizes, most=MOST, more=not context.data.fetched)
    except UserError as error:
        _log.info("the data was not looked at: %s", error)
        return None


def _some(look: Look) -> list[str]:
    said = f"looked at one row in {look.every} for its characters and tokens; `crossflare inspect` looks at all"
    return [said] if look.every > 1 else []


def _key(context: Context) -> str:
    """Return the id of what the look depends on: the recipe's rows and base, and the number of rows."""
    spec = context.spec.resolved()
    lengths = [context.spec.stage1.max_length, context.spec.stage2.max_length]
    parts = context.data.parts or {}
    sizes = [[*place, part.rows, part.used, part.label] for place, part in parts.items()]
    names = ("task", "source", "targets", "model", "methods", "translation")
    return content_id([[spec[name] for name in names], lengths, sizes])
