"""The scores of a trained adapter against gold labels or answers, with the intervals that a report has."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np

from crossflare.errors import UserError, listed
from crossflare.evaluation.predictions import AnswerPredictions, Predictions, run_intervals
from crossflare.evaluation.scoring import AnswerScoring
from crossflare.evaluation.significance import Interval
from crossflare.recipe.kinds import Reads
from crossflare.serving.adapter import TrainedAdapter
from crossflare.serving.rows import given_of, items_of, reads_of, row_texts, states_of, text_columns, translated
from crossflare.tasks.dataset import Task
from crossflare.tasks.example import Answer, Example, check_ids, outline_of
from crossflare.tasks.kinds import QuestionTask, TextTask
from crossflare.training.forms.protocol import Answers, Outputs
from crossflare.translation.engines.protocol import Translator

SOURCE = "source"
"""The column of a text's source; for two texts, `source_` and the column of each text."""
ADVICE: Mapping[Reads, str] = {
    "both": f"give each row its `{SOURCE}`, or a translator; rows whose `{SOURCE}` is None are read alone",
    "latents": f"give its engine, `Transformers`, as translator; rows whose `{SOURCE}` is None are read alone",
}


def evaluate(
    adapter: TrainedAdapter,
    rows: Iterable[Mapping[str, Any]],
    *,
    task: Task | None = None,
    language: str | None = None,
    translator: Translator | None = None,
    batch_size: int = 64,
) -> dict[str, Interval]:
    """Score an adapter on labelled rows, with the intervals that a report has.

    >>> adapter = crossflare.open_adapter("runs/reviews/adapters/flare-sw-seed0")
    >>> rows = [
    ...     {"text": "filamu mbaya", "source": "bad film", "label": "bad"},
    ...     {"text": "hadithi nzuri", "source": "good story", "label": "good"},
    ... ]
    >>> scores = crossflare.evaluate(adapter, rows)
    >>> list(scores)
    ['accuracy', 'macro_f1']
    >>> 0 <= scores["accuracy"].low <= scores["accuracy"].score <= scores["accuracy"].high <= 1
    True

    Args:
        adapter: An adapter that `crossflare.open_adapter` returned.
        rows: N dicts, or rows of `datasets`. A row has `text`, or `premise` and `hypothesis`, or `question` and
            `context`; the gold `label` by its name, or the gold `answers` (a list of texts, or SQuAD's object); and,
            optionally, an `id`. For an adapter that reads sources it also has `source` (for two texts `source_premise`
            and so on), which is None for a row that is read alone.
        task: A task that writes labels or compares answers in another way than training did; None: the adapter's.
        language: The language of the texts, for the rules by which answers are compared, and for the translator; None:
            the adapter's.
        translator: The engine that makes the sources instead; see `TrainedAdapter.predict`.
        batch_size: Rows in one forward pass.

    Returns:
        Metric -> score with its 95 % bootstrap interval over the rows, between 0 and 1: `accuracy` and `macro_f1`, or
        `exact_match` and `f1`. The same rows with the same ids give the same interval.

    Raises:
        UserError: There are no rows, a row lacks a column or has the wrong type there, a label is not one of the
            adapter's, an id occurs twice, or the rows do not fit the adapter (see `TrainedAdapter.predict`).
    """
    if not isinstance(cast(Any, adapter), TrainedAdapter):
        raise UserError(
            f"adapter: expected one from crossflare.open_adapter, got {type(adapter).__name__}; open it first"
        )
    known = _fitting(adapter, task)
    if hasattr(rows, "to_dict") and hasattr(rows, "columns"):  # a pandas table yields the names of its columns
        raise UserError('rows: expected rows as dicts, got a table; give table.to_dict("records")')
    cells = [_cells(row, f"rows[{number}]") for number, row in enumerate(items_of(rows, "rows", "row"))]
    if not cells:
        raise UserError("rows: expected at least one row to score, got none; give labelled rows")
    examples = [_example(known, row, f"rows[{number}]", str(number)) for number, row in enumerate(cells)]
    check_ids(outline_of(examples))
    named = any(_source_columns(known)[0] in row for row in cells)
    given = given_of(named, any(each.source is not None for each in examples), translator)
    reads = reads_of(adapter, given, ADVICE)
    if translator is not None and reads == "both":
        examples = translated(adapter, examples, translator, language)
    states = states_of(adapter, examples, translator) if reads == "latents" else None
    outputs = adapter.outputs(adapter.prepare(examples, reads, states=states), batch_size)
    found = _against_gold(known, examples, outputs, language or str(adapter.card.get("language")))
    scores = run_intervals(found, len(known.labels))
    return {metric: scores[metric] for metric in known.metrics}


def _fitting(adapter: TrainedAdapter, task: Task | None) -> Task:
    """Return the task whose rules apply; raise `UserError` if it does not fit the adapter's."""
    own = adapter.task
    if task is None:
        return own
    if type(task) is not type(own) or task.labels != own.labels or task.text_count != own.text_count:
        what = f"{own.text_count} text(s), labels: {listed(own.labels) or 'none'}"
        raise UserError(f"task: expected one like the adapter's ({what}), got another; leave it out")
    return task


def _cells(row: object, where: str) -> Mapping[str, Any]:
    if not isinstance(row, Mapping):
        raise UserError(f"{where}: expected a row as a dict, got {type(row).__name__}; give column names and values")
    return cast(Mapping[str, Any], row)


def _source_columns(task: Task) -> tuple[str, ...]:
    names = text_columns(task)
    return (SOURCE,) if len(names) == 1 else tuple(f"{SOURCE}_{name}" for name in names)


def _example(task: Task, row: Mapping[str, Any], where: str, number: str) -> Example:
    """Return a row with its gold label or answers."""
    gold = "answers" if isinstance(task, QuestionTask) else "label"
    names = text_columns(task)
    for name in (*names, gold):
        if name not in row:
            raise UserError(f"{where}: no column '{name}' (found: {listed(map(str, row))}); name the columns so")
    texts = row_texts(_whole([row[name] for name in names]), where, task.text_count)
    given = [row.get(name) for name in _source_columns(task)]
    source = None
    if any(each is not None for each in given):
        source = row_texts(_whole(given), f"{where}['{SOURCE}']", task.text_count)
    made = Example(str(row.get("id", number)), texts, source=source, origin=where)
    if isinstance(task, TextTask):
        return replace(made, label=task.label_index(row[gold], where))
    return replace(made, answers=_answers(row[gold], f"{where}['{gold}']"))


def _whole(cells: Sequence[Any]) -> Any:
    return cells[0] if len(cells) == 1 else tuple(cells)


def _answers(value: object, where: str) -> tuple[Answer, ...]:
    """Return gold answers from a list of texts, or from SQuAD's object, which has that list under `text`."""
    texts: Any = cast(Mapping[str, Any], value).get("text") if isinstance(value, Mapping) else value
    if not isinstance(texts, list | tuple) or not texts or not all(isinstance(each, str) for each in cast(Any, texts)):
        raise UserError(
            f"{where}: expected a list of one answer or more, got {texts!r:.60}; label the row or leave it out"
        )
    return tuple(Answer(text) for text in cast(Sequence[str], texts))


def _against_gold(
    task: Task, examples: Sequence[Example], outputs: Outputs, language: str
) -> Predictions | AnswerPredictions:
    ids = tuple(example.id for example in examples)
    if isinstance(outputs, Answers):
        assert isinstance(task, QuestionTask), "only questions are answered"
        values = AnswerScoring(task, language).values(examples, outputs)
        return AnswerPredictions(ids, tuple(tuple(a.text for a in e.answers) for e in examples), outputs.texts, values)
    gold = np.array([example.label for example in examples])
    return Predictions(ids, gold, outputs.predicted, outputs.log_probabilities)
