"""Labels or answers for the rows of a file, from a trained adapter: columns in, predictions out."""

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossflare.disk.files import write_atomic
from crossflare.errors import UserError, choose, listed
from crossflare.evaluation.calibration import Calibration
from crossflare.evaluation.scoring import finite
from crossflare.recipe.engines import build_engine
from crossflare.recipe.kinds import Reads
from crossflare.recipe.translation import EngineOptions
from crossflare.serving.adapter import load_trained
from crossflare.serving.card import open_saved, other_base
from crossflare.serving.languages import language_of, languages_of
from crossflare.serving.prediction import (
    Given,
    Prediction,
    check_texts,
    is_bare,
    reads_of,
    text_columns,
    threshold_of,
    translated,
)
from crossflare.tasks.columns import identity_of, source_of
from crossflare.tasks.dataset import Task
from crossflare.tasks.example import Example, check_ids, outline_of
from crossflare.tasks.files import Row, read_rows
from crossflare.translation.engines.protocol import Translator
from crossflare.translation.engines.registry import ENGINES
from crossflare.translation.rows import iterate


def columns_of(given: Sequence[str], task: Task, first: Row) -> tuple[str, ...]:
    """Return the columns of the texts, those given or the usual ones; raise `UserError` if they do not fit."""
    count = task.text_count
    columns = tuple(given) or text_columns(task)
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
    """Return the rows as examples; their ids come from a column, as in recipes, or are their numbers.

    Raises:
        UserError: A text is not text, an id is not valid, or an id occurs twice.
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
    """Return the ids as the file has them: whole numbers stay numbers; rows without an id get their number, as text."""
    named = id_column or ("id" if "id" in rows[0].cells else None)
    return [str(number) if named is None else row.cell(named) for number, row in enumerate(rows)]


def with_columns(examples: list[Example], rows: Sequence[Row], names: Sequence[str], count: int) -> list[Example]:
    """Return the examples with the columns `names` as their source; a row with only nulls has none, as in recipes.

    Raises:
        UserError: There are too many or too few columns, or a cell holds something other than text.
    """
    if len(names) != count:
        raise UserError(f"the task has {count} text(s), but {len(names)} source column(s) are named")
    return [example.with_source(source_of(row, names)) for example, row in zip(examples, rows, strict=True)]


OutputRow = dict[str, Any]


def output_rows(
    names: Sequence[str | int],
    said: Sequence[Prediction],
    *,
    sources: bool = False,
    abstains: bool = False,
    windows: bool = False,
) -> list[OutputRow]:
    """Return what is written for each row.

    Args:
        names: N ids.
        said: N predictions.
        sources: Whether the adapter reads texts in the source language; if so, the text that it read is written, too.
        abstains: Whether it may abstain; if so, whether it did is written, too.
        windows: Whether it reads longer texts in windows; if so, the number of windows is written, too.
    """
    return [
        {"id": name, "prediction": each.label, **_numbers(each)}
        | ({"abstained": each.abstained} if abstains else {})
        | ({"source": each.source} if sources else {})
        | {"truncated": each.truncated}
        | ({"windows": each.windows} if windows else {})
        for name, each in zip(names, said, strict=True)
    ]


def _numbers(said: Prediction) -> OutputRow:
    if not said.probabilities:
        return {"score": finite(said.score)}
    return {"probabilities": {label: round(p, 6) for label, p in said.probabilities.items()}}


def _jsonl(rows: list[OutputRow]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)


def _csv(rows: list[OutputRow]) -> str:
    text = io.StringIO()
    flat = [
        {name: _cell(value) for name, value in row.items() if name != "probabilities"}
        | {f"p({label})": f"{p:.6f}" for label, p in row.get("probabilities", {}).items()}
        for row in rows
    ]
    # The csv module quotes a text with a line feed, but not one with a carriage return, which also ends a line.
    returns = any("\r" in str(part) for row in flat for pair in row.items() for part in pair)
    writer = csv.DictWriter(
        text, list(flat[0]), lineterminator="\n", quoting=csv.QUOTE_ALL if returns else csv.QUOTE_MINIMAL
    )
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def _cell(value: Any) -> Any:
    """Return a value as a cell of CSV: true and false in lower case, two texts as a JSON list."""
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value, ensure_ascii=False) if isinstance(value, tuple | list) else value


WRITERS: dict[str, Callable[[list[OutputRow]], str]] = {".jsonl": _jsonl, ".csv": _csv}


ADVICE: Mapping[Reads, str] = {
    "both": "say where: --source COLUMN, --translate ENGINE, or --no-source",
    "latents": "name it: --translate transformers --option model=FOLDER-OR-NAME, or --no-source",
}


@dataclass(frozen=True, slots=True)
class Column:
    """The columns of the input file that hold the source texts, as many as the task has texts."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of the predictions, and what a reader of them should know."""

    rows: int
    labels: dict[str, int]
    """How often each label was predicted, in the order of the task; empty for questions."""
    empty: int
    """Rows with an empty text; they get a prediction, too."""
    no_source: int
    """Rows that were read without a source, though the adapter reads sources."""
    truncated: int
    """Rows with a text or a source that was longer than the model's window."""
    in_windows: int = 0
    """Rows that were longer than the window, and were read in several windows."""
    abstained: int = 0
    """Rows that got no label."""
    calibration: Calibration | None = None
    """The calibration of the probabilities; None: they are the model's own."""
    calibrated: tuple[str, ...] = ()
    """The languages that the adapter has temperatures for."""


def predict_file(
    *,
    adapter: str | Path,
    input: Path,
    output: Path,
    source: Column | EngineOptions | None,
    no_source: bool = False,
    texts: Sequence[str] = (),
    id_column: str | None = None,
    quotes: bool | None = None,
    batch_size: int = 64,
    base: str | None = None,
    coverage: float | None = None,
    language: str | None = None,
) -> Counts:
    """Predict a label or an answer for every row of a file, in the file's order.

    Args:
        adapter: A folder that `crossflare run` trained, or a name on the hub; see `open_adapter`.
        input: A CSV, TSV, JSONL or Parquet file; or a `.txt` file with one text per line.
        output: A `.jsonl` or `.csv` file, which is written at once when all rows are predicted.
        source: Where a FLARE adapter finds the text in the source language: columns of the input, or an engine that
            translates.
        no_source: Let a FLARE adapter read the texts alone.
        texts: The columns of the texts; by default `text`, or `premise` and `hypothesis`, or `question` and `context`.
        id_column: The column of the row's id; by default `id` if there is one, else the row's number from 0.
        quotes: Whether the cells of a TSV file are quoted; None: as the file shows.
        batch_size: Rows in one forward pass.
        base: The folder or name of the base model, which may be fetched. None: the one that the card names, which is
            not fetched: a stranger's card starts no look-up.
        coverage: See `TrainedAdapter.predict`.
        language: See `TrainedAdapter.predict`.

    Raises:
        UserError: The adapter is incomplete, the input cannot be read or lacks a column, the output is of an unknown
            kind, or the source does not fit the adapter; all this is checked before the adapter's model is loaded.
    """
    write = WRITERS[choose("kind of output file", output.suffix.lower(), WRITERS)]
    if output.resolve() == input.resolve():
        raise UserError(f"{output}: the output would replace the input; name another file")
    saved = open_saved(adapter)
    task = saved.task
    language = language_of(saved, language)
    threshold_of(saved, coverage, language)
    reads = reads_of(saved, _given(source, no_source), ADVICE)
    rows = list(iterate(input)) if input.suffix.lower() == ".txt" else read_rows(input, quotes=quotes)
    examples = examples_of(rows, columns_of(texts, task, rows[0]), id_column)
    check_texts(saved, examples)
    if isinstance(source, Column):
        examples = with_columns(examples, rows, source.names, task.text_count)
    elif source is not None and reads == "both":
        examples = translated(saved, examples, _engine(source, *languages_of(saved, language)), language)
    encoder = None
    if isinstance(source, EngineOptions) and reads == "latents":
        encoder = _engine(source, *languages_of(saved, language))
    trained = load_trained(saved, base=other_base(saved, base))
    said = trained.answer(
        examples, reads, states_from=encoder, coverage=coverage, language=language, batch_size=batch_size
    )
    names = names_of(rows, id_column)
    made = output_rows(
        names, said, sources=saved.kind.reads == "both", abstains=coverage is not None, windows=saved.long == "windows"
    )
    write_atomic(output, write(made))
    counted = Counter(each.label for each in said)
    return Counts(
        rows=len(said),
        labels={label: counted[label] for label in task.labels},
        empty=sum(any(not text.strip() for text in example.texts) for example in examples),
        no_source=sum(is_bare(example) for example in examples) if reads == "both" else 0,
        truncated=sum(each.truncated for each in said),
        in_windows=sum(each.windows > 1 for each in said),
        abstained=sum(each.abstained for each in said),
        calibration=saved.calibration_in(language),
        calibrated=tuple(saved.card.get("calibration") or ()) if task.labels else (),
    )


def _given(source: Column | EngineOptions | None, no_source: bool) -> Given:
    if isinstance(source, EngineOptions):
        return "encoder" if source.engine == "transformers" else "translator"
    return "texts" if source is not None else "alone" if no_source else "nothing"


def _engine(options: EngineOptions, source: str, target: str) -> Translator:
    """Return the engine that a caller names.

    Raises:
        UserError: Only a recipe can use this engine.
    """
    if options.engine not in ENGINES or options.engine == "precomputed" or "learn" in options.options:
        raise UserError(
            f"--translate {options.engine}: only a recipe's data set can do this; "
            "give a lexicon or a model, or use --source COLUMN"
        )
    return build_engine(options, source, target)
