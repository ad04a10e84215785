"""Answers that any other system gave: read from a file, checked, and put into the order of the rows of a set."""

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from crossflare.errors import UserError
from crossflare.tasks.columns import identity_of
from crossflare.tasks.dataset import Task
from crossflare.tasks.example import Example
from crossflare.tasks.files import Row
from crossflare.tasks.kinds import QuestionTask, TextTask
from crossflare.tasks.layout import FileLayout, rows_of

ID, ANSWER, PROBABILITIES = "id", "prediction", "probabilities"
"""The columns of a file of answers, as `crossflare predict` names the last two."""
TOLERANCE = 0.02
"""The most that the probabilities of a row may differ from 1 in sum: many files have two or three digits."""


@dataclass(frozen=True, slots=True)
class Given:
    """What another system answered for one row."""

    label: int = -1
    """The index of the label; -1 for a question."""
    probabilities: tuple[float, ...] = ()
    """The K probabilities, with sum 1; empty where the file has none."""
    text: str = ""
    """The answer to a question."""


def read_given(
    path: Path, layout: FileLayout, task: Task, rows: Sequence[Example], known: Sequence[Example], language: str
) -> list[Given]:
    """Read a file of answers.

    Args:
        path: The file.
        layout: How it is written, and its columns of the id and of the answer (`label`, for questions `answer`).
        task: The task.
        rows: The N rows that need an answer.
        known: The rows that may have one, such as those beyond the recipe's limit.
        language: The language of the rows, for messages.

    Returns:
        N answers, in the order of `rows`.

    Raises:
        UserError: An id is unknown, doubled or missing, a label is unknown, probabilities are wrong, or the file cannot
            be read; the message names the line.
    """
    ids = {example.id for example in known}
    found: dict[str, Given] = {}
    places: dict[str, str] = {}
    answered_alike: tuple[bool, str] | None = None
    for _, row in rows_of([path], layout):
        name = identity_of(row, ID if layout.id is None else layout.id)
        if name not in ids:
            example = f"they are such as '{known[0].id}'" if known else "there is none"
            raise UserError(
                f"{row.origin}: no test row in '{language}' has the id '{name}': {example}; `crossflare inspect RECIPE "
                "--rows FOLDER` writes the test rows with their ids"
            )
        if name in places:
            raise UserError(f"{row.origin}: the id '{name}' is answered at {places[name]} already; keep one answer")
        made = _asked(row, layout) if isinstance(task, QuestionTask) else _chosen(row, layout, task)
        if answered_alike is not None and bool(made.probabilities) != answered_alike[0]:
            raise UserError(f"{row.origin}: only some rows have probabilities ({answered_alike[1]}); give all, or none")
        answered_alike = bool(made.probabilities), row.origin
        found[name], places[name] = made, row.origin
    absent = [example for example in rows if example.id not in found]
    if absent:
        where = f" ({absent[0].origin})" if absent[0].origin else ""
        more = f" and for {len(absent) - 1} more of {len(rows)}" if len(absent) > 1 else ""
        raise UserError(
            f"{path}: no answer for the row '{absent[0].id}'{where}{more}; every test row in '{language}' needs one"
        )
    return [found[example.id] for example in rows]


def _asked(row: Row, layout: FileLayout) -> Given:
    return Given(text=row.text(ANSWER if layout.answer is None else layout.answer))


def _chosen(row: Row, layout: FileLayout, task: TextTask) -> Given:
    shares = _probabilities(row, task)
    column = ANSWER if layout.label is None else layout.label
    if shares and layout.label is None and not row.has(column):
        return Given(shares.index(max(shares)), shares)
    label = task.label_index(row.cell(column), row.origin)
    if shares and shares[label] < max(shares):
        likely = task.labels[shares.index(max(shares))]
        raise UserError(
            f"{row.origin}: the answer is '{task.labels[label]}', but its probabilities say '{likely}'; correct one"
        )
    return Given(label, shares)


def _probabilities(row: Row, task: TextTask) -> tuple[float, ...]:
    """Return the probabilities of a row in the order of the labels, from one column or from one for each label."""
    said: Any = None
    columns = [f"p({label})" for label in task.labels]
    if row.has(PROBABILITIES):
        said = row.cell(PROBABILITIES)
        if isinstance(said, str):
            with suppress(ValueError):  # what is no JSON is refused below
                said = json.loads(said)
    elif any(row.has(column) for column in columns):
        said = {label: row.cell(column) for label, column in zip(task.labels, columns, strict=True)}
    if said is None:
        return ()
    if not isinstance(said, Mapping) or {str(name) for name in cast(Mapping[Any, Any], said)} != set(task.labels):
        names = ", ".join(task.labels)
        raise UserError(f"{row.origin}: expected a probability for each of the labels {names}; {_shown(said)}")
    values = {str(name): _number(value) for name, value in cast(Mapping[Any, Any], said).items()}
    shares = [values[label] for label in task.labels]
    if not all(0 <= share <= 1 for share in shares) or abs(sum(shares) - 1) > TOLERANCE:
        raise UserError(f"{row.origin}: expected probabilities from 0 to 1 with sum 1; {_shown(said)}")
    return tuple(share / sum(shares) for share in shares)


def _number(value: Any) -> float:
    if isinstance(value, bool):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _shown(said: Any) -> str:
    return f"got {json.dumps(said, ensure_ascii=False, default=str):.80}"
