"""The checks of a recipe's rows before anything is made: rows are read one by one, and 11 bytes of each are kept."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from crossflare.errors import UserError
from crossflare.experiment.data.controls import joined_tag
from crossflare.recipe.needs import Need, needs
from crossflare.recipe.spec import Spec
from crossflare.recipe.strict_yaml import GatheredError
from crossflare.tasks.dataset import PARTS, DataSet, left_out, outline
from crossflare.tasks.example import ANSWER, BLANK, NATIVE, SOURCE, Example, Outline, Split, outline_of
from crossflare.tasks.own import OWN_ADVICE


def one_label(split: Split, labels: tuple[str, ...]) -> str | None:
    """Return the one label of all rows of a part; None if they have several labels, or none."""
    only = outline_of(split.examples).only_label() if len(labels) > 1 else None
    return None if only is None else labels[only]


@dataclass(frozen=True)
class Part:
    """The facts about one part in one language, after the check."""

    rows: int
    used: int
    """How many rows the recipe takes."""
    label: str | None
    """The one label of all used rows; None: they have several, or none."""
    mixed: bool
    """Whether all used rows have one label, but the unused rows have others."""
    left_out: int
    """The number of questions that are left out because they have no answer."""


Parts = dict[tuple[str, str], Part]
"""(language, part) -> the facts about it."""


def check_rows(spec: Spec, data: DataSet) -> Parts:
    """Read every row that the recipe reads, and return the facts about each part.

    Raises:
        GatheredError: One line for each part that cannot be used.
    """
    wrong: list[str] = []
    found: Parts = {}
    met: dict[tuple[str, str], dict[int, Callable[[], Example]]] = {}
    wanted = sorted(needs(spec), key=lambda need: (PARTS.index(need.part), need.language != spec.source))
    for need in wanted:
        if need.paired and Need(need.language, need.part) in wanted and (need.language, need.part) not in found:
            continue  # errors in the rows alone are already reported
        try:
            rows = outline(data, need.language, need.part, spec.source if need.paired else None)
            _check(spec, data, need, rows)
            found[need.language, need.part] = _part(spec, data, need, rows)
            met[need.language, need.part] = _first_rows(rows)
        except UserError as error:
            said = _said(spec, need, str(error))
            tied = any(
                each.why.startswith("translation.") and (each.language, each.part) == (need.language, need.part)
                for each in wanted
            )
            wrong.append(said.replace(OWN_ADVICE, "") if tied else said)
    wrong += _never_taught(spec, data, met) if not wrong else []
    wrong += [said for method in spec.methods if (said := _shared(spec, data, method.name))] if not wrong else []
    if wrong:
        raise GatheredError(dict.fromkeys(wrong), "data")
    return found


def _said(spec: Spec, need: Need, said: str) -> str:
    """Return an error about rows with why they are needed, and without advice that the recipe already follows."""
    if spec.translation.to_target.engine != "none":
        return said
    said = said.replace(NATIVE, "")
    return said if not need.why or need.why in said else f"{said}; {need.why}"


def no_source(data: DataSet, source: str, language: str, part: str, why: str) -> UserError:
    """Return the error for rows that need the set's own text in the source language, and have none."""
    return UserError(f"{data.name} has no {part} rows of its own in '{source}' beside '{language}'; {why}")


def _check(spec: Spec, data: DataSet, need: Need, rows: Outline) -> None:
    used = _used(spec, need.part, len(rows))
    if need.why and not rows.having(SOURCE, used):
        raise no_source(data, spec.source, need.language, need.part, need.why)
    if spec.task.asks:
        _refuse(rows, (rows.flags[:used] & ANSWER) == 0, "expected an answer, found none; label the row or take it out")
    elif need.part != "test":
        got = f"expected a label from 0 to {len(data.task.labels) - 1}, got none"
        _refuse(rows, rows.labels[:used] < 0, got)
    if spec.task.form == "text":
        _refuse(rows, (rows.flags[:used] & BLANK) != 0, "it has no text; give it some or drop the row")


def _refuse(rows: Outline, wrong: "np.ndarray[tuple[int], np.dtype[np.bool_]]", why: str) -> None:
    places = np.flatnonzero(wrong)
    if len(places):
        row = rows.row(int(places[0]))
        more = f" ({len(places) - 1} more like it)" if len(places) > 1 else ""
        raise UserError(f"{row.origin}: row '{row.id}': {why}{more}")


def _first_rows(rows: Outline) -> dict[int, Callable[[], Example]]:
    """Return label -> a function that reads the first row with this label again."""
    # Empty copies, since a slice would keep the whole arrays: their memory can be freed.
    nothing = {name: getattr(rows, name)[:0].copy() for name in ("keys", "labels", "flags")}
    reads = replace(rows, **nothing)
    met = [label for label in np.unique(rows.labels).tolist() if label >= 0]
    # One label at a time: for all at once, numpy would sort with eight or more bytes for each row.
    return {label: partial(reads.row, int(np.argmax(rows.labels == label))) for label in met}


def _never_taught(
    spec: Spec, data: DataSet, met: Mapping[tuple[str, str], Mapping[int, Callable[[], Example]]]
) -> list[str]:
    """Return a line for each label in a target's dev or test rows that no training row has: no model can learn it.

    All rows of a file count, including those beyond `task.limit`. A language may have fewer labels than the source. If
    all training rows have one label, there is already a warning, so nothing is returned here.
    """
    taught = {label for (_, part), labels in met.items() if part == "train" for label in labels}
    wrong: list[str] = []
    for (language, _), labels in met.items():
        for label in sorted(set(labels) - taught) if len(taught) > 1 and language != spec.source else ():
            row, name = labels[label](), data.task.labels[label]
            wrong.append(
                f"{row.origin}: row '{row.id}': the label '{name}' is in no training row, in '{spec.source}' or "
                "elsewhere, so nothing can learn it; add training rows that have it, or take these rows out"
            )
    return wrong


def _part(spec: Spec, data: DataSet, need: Need, rows: Outline) -> Part:
    labels, used = data.task.labels, _used(spec, need.part, len(rows))
    only = rows.only_label(used) if len(labels) > 1 else None
    return Part(
        len(rows),
        used,
        None if only is None else labels[only],
        only is not None and used < len(rows) and rows.only_label() is None,
        left_out(data, need.language, need.part),
    )


def _used(spec: Spec, part: str, rows: int) -> int:
    limit = getattr(spec.task.limit, part)
    return rows if limit is None else min(rows, limit)


def _shared(spec: Spec, data: DataSet, name: str) -> str:
    """Return the error of a joint adapter with no row in all of its languages; empty if there is none."""
    method = spec.method(name)
    if not method.joint or method.of is not None or spec.translation.to_target.engine != "parallel":
        return ""
    languages = spec.languages(method)
    for part in ("train", "dev"):
        common: set[int] | None = None
        for language in languages:
            rows = outline(data, language, part)
            keys = set(rows.keys[: _used(spec, part, len(rows))].tolist())
            common = keys if common is None else common & keys
        if not common:
            return no_shared_rows(data, languages, part)
    return ""


def no_shared_rows(data: DataSet, languages: Sequence[str], part: str) -> str:
    """Return the error for a joint adapter whose languages have no rows in common."""
    return f"{data.name}: a joint adapter needs {part} rows with the same ids in {joined_tag(languages)}"
