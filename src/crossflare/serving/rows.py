"""The rows of a file that is predicted: which columns hold the texts, and how what was predicted is written."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from typing import Any

from crossflare.errors import UserError, listed
from crossflare.evaluation.scoring import finite
from crossflare.serving.prediction import Prediction
from crossflare.tasks.columns import identity_of, source_of
from crossflare.tasks.dataset import Task
from crossflare.tasks.example import Example
from crossflare.tasks.files import Row
from crossflare.tasks.kinds import QuestionTask
from crossflare.tasks.outline import check_ids, outline_of

COLUMNS = {1: ("text",), 2: ("premise", "hypothesis")}
"""The columns of the texts where the caller names none."""
QUESTION_COLUMNS = ("question", "context")


def text_columns(given: Sequence[str], task: Task, first: Row) -> tuple[str, ...]:
    """Return the columns of the texts, as given or as they are usually called; `UserError` when they do not fit."""
    count = task.text_count
    columns = tuple(given) or (QUESTION_COLUMNS if isinstance(task, QuestionTask) else COLUMNS[count])
    if len(columns) != count:
        raise UserError(f"the task has {count} text(s), but {len(columns)} column(s) are named: {', '.join(columns)}")
    missing = [name for name in columns if name not in first.cells]
    if missing and not given:
        found = listed(map(str, first.cells))
        raise UserError(
            f"{first.origin}: no column '{missing[0]}' (found: {found}); name the text's with --text COLUMN"
        )
    return columns


def examples_of(rows: Sequence[Row], columns: tuple[str, ...], id_column: str | None) -> list[Example]:
    """Return the rows as examples, named by a column as recipes read it, or by their number.

    Raises:
        UserError: A text or an id is none, or an id occurs twice.
    """
    named = id_column or ("id" if "id" in rows[0].cells else None)
    examples = [
        Example(
            str(number) if named is None else identity_of(row, named),
            tuple(row.text(column) for column in columns),
            origin=row.origin,
        )
        for number, row in enumerate(rows)
    ]
    check_ids(outline_of(examples))
    return examples


def names_of(rows: Sequence[Row], id_column: str | None) -> list[str | int]:
    """Return the ids as the file has them: whole numbers stay numbers; of rows without one their numbers, as text."""
    named = id_column or ("id" if "id" in rows[0].cells else None)
    return [str(number) if named is None else row.cell(named) for number, row in enumerate(rows)]


def with_columns(examples: list[Example], rows: Sequence[Row], names: Sequence[str], count: int) -> list[Example]:
    """Return the examples with the columns `names` as their source: none where all of them are null, as in recipes.

    Raises:
        UserError: They are too many or too few, or a cell holds something else than text.
    """
    if len(names) != count:
        raise UserError(f"the task has {count} text(s), but {len(names)} source column(s) are named")
    return [example.with_source(source_of(row, names)) for example, row in zip(examples, rows, strict=True)]


OutputRow = dict[str, Any]


def output_rows(names: Sequence[str | int], said: Sequence[Prediction]) -> list[OutputRow]:
    """Return what is written of each row."""
    return [{"id": name, "prediction": each.label, **_numbers(each)} for name, each in zip(names, said, strict=True)]


def _numbers(said: Prediction) -> OutputRow:
    if not said.probabilities:
        return {"score": finite(said.score)}
    return {"probabilities": {label: round(p, 6) for label, p in said.probabilities.items()}}


def _jsonl(rows: list[OutputRow]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)


def _csv(rows: list[OutputRow]) -> str:
    text = io.StringIO()
    flat = [
        {name: value for name, value in row.items() if name != "probabilities"}
        | {f"p({label})": f"{p:.6f}" for label, p in row.get("probabilities", {}).items()}
        for row in rows
    ]
    # The csv module quotes a text for a line feed in it, but not for a carriage return, which readers take for one.
    returns = any("\r" in str(part) for row in flat for pair in row.items() for part in pair)
    writer = csv.DictWriter(
        text, list(flat[0]), lineterminator="\n", quoting=csv.QUOTE_ALL if returns else csv.QUOTE_MINIMAL
    )
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


WRITERS: dict[str, Callable[[list[OutputRow]], str]] = {".jsonl": _jsonl, ".csv": _csv}
