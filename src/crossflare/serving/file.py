"""Labels or answers for the rows of a file of any size: the columns that it has, and the predictions after them.

Rows are read, translated, made into tokens, put through the model and written in chunks; a few chunks are in memory.
The chunks that are done lie in the folder `OUTPUT.part`, from which the same call goes on after a kill.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

from crossflare.disk.files import MANIFEST, digest_file
from crossflare.disk.growing import Growing, opened_growing
from crossflare.errors import UserError
from crossflare.evaluation.calibration import Calibration
from crossflare.progress import bar
from crossflare.recipe.engines import build_engine
from crossflare.recipe.kinds import Reads
from crossflare.recipe.translation import EngineOptions
from crossflare.serving.adapter import load_trained
from crossflare.serving.batcher import Batch, Batcher, overlapped
from crossflare.serving.card import open_saved, other_base
from crossflare.serving.intake import Chunk, Column, Intake
from crossflare.serving.languages import language_of, languages_of
from crossflare.serving.output import Output, added_cells, check_writable, kind_of_output
from crossflare.serving.prediction import Prediction, threshold_of
from crossflare.serving.rows import Given, is_bare, reads_of
from crossflare.tasks import arrow
from crossflare.tasks.files import format_of, survey
from crossflare.translation.engines.protocol import Translator
from crossflare.translation.engines.registry import ENGINES

ROWS, REJECTED, JOINED, TRANSLATIONS = "rows", "rejected", "joined", "translations"
"""What is in the folder of an unfinished output."""
ADVICE: Mapping[Reads, str] = {
    "both": "say where: --source COLUMN, --translate ENGINE, or --no-source",
    "latents": "name it: --translate transformers --option model=FOLDER-OR-NAME, or --no-source",
}


@dataclass(slots=True)
class Counts:
    """Counts of the rows, kept with each chunk, and what a reader of the predictions should know."""

    read: int = 0
    """Rows of the input, the rejected ones, too."""
    rows: int = 0
    """Rows with a prediction."""
    labels: dict[str, int] = field(default_factory=dict[str, int])
    """How often each label was predicted, in the order of the task; empty for questions."""
    rejected: int = 0
    """Rows that cannot be read; they are not in the output, but in `rejected_file`, with the reasons."""
    no_source: int = 0
    """Rows that were read without a source, though the adapter reads sources."""
    truncated: int = 0
    """Rows with a text or a source that was longer than the model's window."""
    in_windows: int = 0
    """Rows that were longer than the window, and were read in several windows."""
    abstained: int = 0
    """Rows that got no label."""
    calibration: Calibration | None = None
    """The calibration of the probabilities; None: they are the model's own."""
    calibrated: tuple[str, ...] = ()
    """The languages that the adapter has temperatures for."""

    def add(self, chunk: Chunk, batch: Batch, reads: Reads) -> None:
        """Count the rows of a chunk."""
        self.read += chunk.read
        self.rows += len(batch.said)
        said = Counter(each.label for each in batch.said)
        self.labels = {label: number + said[label] for label, number in self.labels.items()}
        self.rejected += len(chunk.faults)
        self.no_source += sum(is_bare(each) for each in batch.examples) if reads == "both" else 0
        self.truncated += sum(each.truncated for each in batch.said)
        self.in_windows += sum(each.windows > 1 for each in batch.said)
        self.abstained += sum(each.abstained for each in batch.said)

    def kept(self) -> dict[str, Any]:
        """Return what is counted, as JSON."""
        return {name: value for name, value in asdict(self).items() if not name.startswith("calibrat")}


def rejected_file(output: Path) -> Path:
    """Return where the rows that cannot be read are named: `OUTPUT.rejected.jsonl`."""
    return output.with_name(f"{output.name}.rejected.jsonl")


def predict_file(
    *,
    adapter: str | Path,
    input: Path,
    output: Path,
    source: Column | EngineOptions | None,
    no_source: bool = False,
    texts: tuple[str, ...] = (),
    id_column: str | None = None,
    quotes: bool | None = None,
    batch_size: int = 64,
    base: str | None = None,
    coverage: float | None = None,
    language: str | None = None,
    prefix: str = "",
    strict: bool = False,
) -> Counts:
    """Predict a label or an answer for every row of a file, in the file's order.

    A call that was stopped or killed goes on where it was when it is made again; its output has the same bytes.

    Args:
        adapter: A folder that `crossflare run` trained, or a name on the hub; see `open_adapter`.
        input: A file that `rows_and_faults` reads, or a `.txt` file with one text per line.
        output: A `.csv`, `.tsv`, `.jsonl` or `.parquet` file, the first three also packed (`.csv.gz`). It is there when
            all rows are predicted; until then there is the folder `OUTPUT.part`.
        source: Where a FLARE adapter finds the text in the source language: columns of the input, or an engine that
            translates.
        no_source: Let a FLARE adapter read the texts alone.
        texts: The columns of the texts; by default `text`, or `premise` and `hypothesis`, or `question` and `context`.
        id_column: The column of the row's name; by default `id`. If there is none, a column `id` with the row's number,
            from 0, is added.
        quotes: Whether the cells of a TSV file are quoted; None: as the file shows.
        batch_size: Rows in one forward pass.
        base: The folder or name of the base model, which may be fetched. None: the one that the card names, which is
            not fetched: a stranger's card starts no look-up.
        coverage: See `TrainedAdapter.predict`.
        language: See `TrainedAdapter.predict`.
        prefix: Put before the name of each column that is added.
        strict: Read all rows first, and refuse the file for the first that cannot be read. False: such rows are named
            in `rejected_file`, and the others are predicted.

    Raises:
        UserError: The adapter is incomplete, the input cannot be read, lacks a column or has one that would be added,
            the output is of an unknown kind, `OUTPUT.part` is another call's, or the source does not fit the adapter;
            all this is checked before the adapter's model is loaded. Or no row could be read.
    """
    check_writable(input, output)
    saved = open_saved(adapter)
    language = language_of(saved, language)
    threshold_of(saved, coverage, language)
    reads = reads_of(saved, _given(source, no_source), ADVICE)
    columns = source.names if isinstance(source, Column) else ()
    intake = Intake(saved.task, input, texts=texts, sources=columns, id_column=id_column, quotes=quotes)
    cells = partial(
        added_cells, sources=saved.kind.reads == "both", abstains=coverage is not None, windows=saved.long == "windows",
        prefix=prefix,
    )  # fmt: skip
    like = cells(Prediction("", 0.0, dict.fromkeys(saved.task.labels, 0.0)), number=None if intake.is_named else 0)
    form = Output(output, intake.columns, like)
    intake.check_columns(form.added, is_table=form.is_table)
    engine = None
    if isinstance(source, EngineOptions) and reads in ("both", "latents"):
        engine = _engine(source, *languages_of(saved, language))
    digest, total = survey(input)
    about = {
        "crossflare": version("crossflare"),
        "adapter": digest_file(saved.folder / MANIFEST),
        "input": [digest, input.suffixes, quotes],
        "source": dict(engine.identity) if engine is not None else [reads, *columns],
        "columns": [*intake.texts, id_column, prefix],
        "batch size": batch_size,
        "coverage": coverage,
        "language": language,
    }
    if strict:
        intake.check_rows()
    with opened_growing(output.with_name(f"{output.name}.part"), about, (ROWS, REJECTED), "predicts there") as part:
        counts = Counts(**(part.state or {"labels": dict.fromkeys(saved.task.labels, 0)}))
        chunks = iter(()) if part.is_whole else intake.chunks(counts.read)
        if (first := next(chunks, None)) is not None:
            batcher = Batcher(
                load_trained(saved, base=other_base(saved, base)), reads, engine=engine,
                store=part.folder / TRANSLATIONS, coverage=coverage, language=language, batch_size=batch_size,
            )  # fmt: skip
            kept = format_of(input) == "parquet" and kind_of_output(output) == ".parquet"
            types = arrow.ParquetRows(input, counts.read) if kept else None
            batches = (Batch(chunk.examples, chunk) for chunk in chain([first], chunks))
            filling = _Filling(part, counts, form, cells, reads, intake.is_named, types)
            filling.run(batches, batcher, f"predicting {input.name}", total)
        _finish(part, counts, output)
    counts.calibration = saved.calibration_in(language)
    counts.calibrated = tuple(saved.card.get("calibration") or ()) if saved.task.labels else ()
    return counts


@dataclass(frozen=True, slots=True)
class _Filling:
    """What fills the files of an output, chunk by chunk."""

    part: Growing
    counts: Counts
    form: Output
    cells: Callable[..., dict[str, Any]]
    reads: Reads
    is_named: bool
    types: arrow.ParquetRows | None

    def run(self, batches: Iterator[Batch], batcher: Batcher, title: str, total: int | None) -> None:
        """Predict and write all batches, under a bar with the rows per second and the time left."""
        begin, before = time.monotonic(), self.counts.read
        with (
            closing(batcher),
            closing(overlapped(batches, batcher.stages)) as done,
            bar(title, total, before) as advance,
        ):
            for batch in done:
                self._write(batch, batch.about)
                rate = (self.counts.read - before) / max(time.monotonic() - begin, 1e-3)
                advance(batch.about.read, f"{rate:,.0f} rows/s")

    def _write(self, batch: Batch, chunk: Chunk) -> None:
        numbers = [None if self.is_named else chunk.begin + place for place in chunk.places]
        added = [self.cells(said, number=number) for said, number in zip(batch.said, numbers, strict=True)]
        taken = None if self.types is None else self.types.take(chunk.read, chunk.places)
        rows = self.form.chunk(chunk.rows, added, first=not self.part.state, taken=taken)
        self.counts.add(chunk, batch, self.reads)
        self.part.add({ROWS: rows, REJECTED: _refused(chunk)}, self.counts.kept())


def _refused(chunk: Chunk) -> bytes:
    """Return a line for each row that was rejected: where it is, and why."""
    lines = ""
    for fault in chunk.faults:
        place, _, reason = str(fault).partition(": ")
        lines += json.dumps({"where": place, "reason": reason}, ensure_ascii=False) + "\n"
    return lines.encode("utf-8", "replace")


def _finish(part: Growing, counts: Counts, output: Path) -> None:
    """Give the files their names; a file of rejected rows of an earlier call goes if there are none now."""
    rows = ROWS
    if counts.rows and kind_of_output(output) == ".parquet":
        rows = JOINED
        if not part.is_whole:
            arrow.join_streams(part.folder / ROWS, part.folder / JOINED)
    named = rejected_file(output)
    if not counts.rejected:
        named.unlink(missing_ok=True)
    part.name_files(({REJECTED: named} if counts.rejected else {}) | ({rows: output} if counts.rows else {}))
    if not counts.rows:
        raise UserError(f"none of {counts.read} rows could be read; see {named}", "data")


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
