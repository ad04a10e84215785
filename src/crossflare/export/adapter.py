"""The export of a trained adapter: what is asked for, checked before a model is loaded, and written all at once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from crossflare.disk.files import commit_dir, write_json
from crossflare.disk.storage import check_space
from crossflare.errors import UserError, choose
from crossflare.evaluation.calibration import Calibration
from crossflare.export import folders, graph, onnx_folder
from crossflare.export.onnx_folder import Measured
from crossflare.serving.adapter import TrainedAdapter, load_trained
from crossflare.serving.card import STAGE1, Saved, open_saved, other_base, read_saved
from crossflare.serving.intake import Intake
from crossflare.serving.languages import language_of
from crossflare.serving.rows import Text, examples_from, text_of

FORMS = ("onnx", "lora", "base", "model")
FORMAT = 1
"""The format of export.json, which readers of other programs may look at; crossflare itself reads none."""
LIBRARIES = ("crossflare", "torch", "transformers", "peft")


@dataclass(frozen=True, slots=True)
class Exported:
    """A folder that `export_adapter` wrote."""

    folder: Path
    card: Mapping[str, Any]
    """What its export.json says."""


def export_adapter(
    folder_or_hub_id: str | Path,
    out: str | Path,
    *,
    to: str,
    int8: bool = False,
    texts: Iterable[Text] | None = None,
    sources: Iterable[Text | None] | None = None,
    language: str | None = None,
    base: str | None = None,
) -> Exported:
    """Write a trained adapter in a form that needs no crossflare, after comparing it with the adapter.

    >>> made = crossflare.export_adapter("runs/reviews/adapters/flare-sw-seed0", "sentiment", to="base")
    >>> sorted(path.name for path in made.folder.iterdir())[:3]
    ['README.md', 'config.json', 'export.json']

    Args:
        folder_or_hub_id: As for `open_adapter`.
        out: The folder to make: a new one, or an empty one.
        to: `onnx`: a graph with inputs for the text and its source, for onnxruntime. `lora`: one LoRA on the base
            itself, with stage 1 inside, for peft; a FLARE adapter is written as it computes without a source. `base`:
            the base with stage 1 and its head merged in, for transformers: what zero-shot computes. `model`: the base
            with all that was trained merged in, for adapters that are plain LoRA, and for all weights.
        int8: Give the graph weights of 8 bits, and measure what that changes.
        texts: The rows to measure on, as for `predict`; None: texts made of random tokens.
        sources: Their sources, for an adapter that reads them.
        language: The language whose temperature is written, for an adapter of several.
        base: As for `open_adapter`.

    Raises:
        UserError: The form does not fit the adapter (the message says why), the folder is not empty, a library is
            missing, the disk has no room, or what was written does not compute what the adapter computes.
    """
    choose("form", to, FORMS)
    place = Path(out)
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise UserError(f"{place}: expected a new or an empty folder, found something there; name another")
    if to != "onnx" and (int8 or texts is not None):
        raise UserError(f"int8 and rows to measure it on are for ONNX, got --to {to}; leave them out")
    if texts is not None and not int8:
        raise UserError("rows are what int8 is measured on; ask for int8, too, or leave them out")
    saved = open_saved(folder_or_hub_id)
    known = saved.calibration_in(language_of(saved, language))
    if to == "base":
        saved = _stage1(saved)
    if to == "onnx":
        graph.check_libraries()
        onnx_folder.check_graph(saved)
    else:
        folders.check_plain(saved, lora=to == "lora")
    rows = None if texts is None else _rows(saved, texts, sources)
    named = other_base(saved, base)
    adapter = load_trained(saved, base=named, device="cpu")
    adapter = adapter if named is None else replace(adapter, base=named)
    if to != "lora":
        check_space(place, graph.bytes_of(adapter.model) * (1.3 if int8 else 1) / 1e6, "the model")
    card = _card(adapter, to, None if to == "base" else known)
    kept: dict[str, Any] = {}

    def fill(folder: Path) -> None:
        if to == "onnx":
            kept.update(onnx_folder.write_onnx(adapter, folder, card, rows, int8=int8))
        else:
            write = folders.write_lora if to == "lora" else folders.write_model
            kept.update(card | write(adapter, folder))
            write_json(folder / "export.json", kept)

    commit_dir(place, fill)
    return Exported(place, kept)


def rows_in(
    file: Path, adapter: str | Path, texts: Sequence[str] = (), sources: Sequence[str] = ()
) -> tuple[list[Text], list[Text | None] | None]:
    """Return the texts and the sources of a file's rows, as `predict_file` reads them; None: it has no sources.

    Args:
        file: A CSV, TSV, JSONL or Parquet file.
        adapter: The adapter's folder, whose task says how many texts a row has.
        texts: The columns of the texts; none: the usual ones.
        sources: The columns of their sources.

    Raises:
        UserError: The file cannot be read, or lacks a column.
    """
    intake = Intake(open_saved(adapter).task, file, texts=texts, sources=sources)
    intake.check_rows()
    examples = [each for chunk in intake.chunks(0) for each in chunk.examples]
    found = [text_of(each.source) for each in examples]
    return [text_of(each.texts) or "" for each in examples], found if sources else None


def _stage1(saved: Saved) -> Saved:
    """Return the adapter that the base with stage 1 is made of."""
    if saved.name == STAGE1:
        return saved
    if saved.kind.learns == "model":
        raise UserError(f"{saved.folder}: {saved.name} trains all weights and keeps no stage 1; use --to model")
    if saved.stage1 is None:
        raise UserError(f"{saved.folder}: it has no stage 1, so its base is {saved.base.name} as it is; use that")
    return read_saved(saved.stage1)


def _rows(saved: Saved, texts: Iterable[Text], sources: Iterable[Text | None] | None) -> Measured:
    """Return a caller's rows, checked as `predict` checks them."""
    examples, any_source = examples_from(texts, sources, saved.task.text_count)
    if any_source and saved.kind.reads != "both":
        raise UserError(f"{saved.folder}: {saved.name} reads no source; leave it out")
    if not examples:
        raise UserError("no rows to measure on; give some, or leave them out")
    return Measured([text_of(each.texts) or "" for each in examples], [text_of(each.source) for each in examples])


def _card(adapter: TrainedAdapter, to: str, known: Calibration | None) -> dict[str, Any]:
    """Return what export.json says of every form."""
    return {
        "format": FORMAT,
        "form": to,
        "kind": adapter.name,
        "task": adapter.task.name,
        "texts": adapter.task.text_count,
        "labels": list(adapter.task.labels),
        "language": adapter.card.get("language"),
        "from": adapter.card.get("source"),
        "base": adapter.base.name,
        "temperature": None if known is None else known.temperature,
        "reads_source": False,
        "max_length": adapter.form(with_source=False).longest,
        "versions": {name: version(name) for name in (*LIBRARIES, *(graph.NEEDED if to == "onnx" else ()))},
    }
