"""A look at the rows that a recipe reads, or at one file that no recipe names yet."""

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from crossflare.errors import UserError, listed
from crossflare.inspection.found import Look
from crossflare.inspection.looker import Looker, Share
from crossflare.languages import find_language, tag_of
from crossflare.recipe.engines import jobs, model_place
from crossflare.recipe.needs import needs
from crossflare.recipe.spec import Spec
from crossflare.tasks.dataset import PARTS, DataSet, aligned_by, iterate_part
from crossflare.tasks.example import Example
from crossflare.tasks.files import Column, Row, format_of
from crossflare.tasks.layout import FileLayout, rows_of
from crossflare.tasks.lines import open_bytes
from crossflare.tasks.squad import is_nested, read_questions
from crossflare.tasks.tables import other_delimiter


def look_at(
    spec: Spec, data: DataSet, *, sizes: Mapping[tuple[str, str], int] | None = None, most: int | None = None,
    more: bool = True,
) -> Look:  # fmt: skip
    """Look at the rows that a recipe reads.

    Args:
        spec: The recipe.
        data: The recipe's data set.
        sizes: (language, part) -> number of rows, where it is known.
        most: If there are more rows, the characters and tokens of only this many are inspected; needs `sizes`.
        more: Also compare the targets' test rows with those of the source language, which the recipe may not read.

    Raises:
        UserError: A row cannot be read, or the base model is missing.
    """
    wanted = list(dict.fromkeys((need.language, need.part) for need in needs(spec)))
    order = list(dict.fromkeys([spec.source, *spec.targets, *(language for language, _ in wanted)]))
    wanted.sort(key=lambda each: (order.index(each[0]), PARTS.index(each[1])))
    shares = [Share(*each, _reader(spec, data, *each), _limit(spec, each[0])) for each in wanted]
    if more and aligned_by(data) != "none" and spec.source in map(tag_of, data.languages):
        there = [part for part in data.parts(spec.source) if (spec.source, part) not in wanted]
        parts = [part for part in there if any(each[1] == part for each in wanted)]
        shares += [Share(spec.source, part, _reader(spec, data, spec.source, part), 0, True) for part in parts]
    total = None if sizes is None else sum(sizes.get(each, 0) for each in wanted)
    work = jobs(spec)
    looker = Looker(
        spec.name,
        list(data.task.labels),
        spec.task.asks,
        spec.source,
        BaseTokenizer(spec.model.name, spec.model.revision).read,
        spec.model.name,
        aligned_by(data),
        1 if most is None or not total else -(-total // most),
        frozenset(each for job in work for each in job.parts),
    )
    looker.read(shares, total)
    return replace(looker.found(), work=[looker.work(job) for job in work])


def _reader(spec: Spec, data: DataSet, language: str, part: str) -> Callable[[], Iterable[Example]]:
    """Return the reader of the rows of a part, as many as the recipe takes."""
    limit = getattr(spec.task.limit, part)
    return lambda: islice(iterate_part(data, language, part), limit)


def _limit(spec: Spec, language: str) -> int:
    if spec.task.long == "windows":
        return 0  # no text is cut
    return (spec.stage1 if language == spec.source else spec.stage2).max_length


_log = logging.getLogger(__name__)
QUESTION = ("question", "context")
TEXTS = (
    ("premise", "hypothesis"), ("premise", "hypo"), ("sentence1", "sentence2"), ("text1", "text2"),
    ("text",), ("sentence",), ("tweet",), ("review",), ("content",), ("comment",), ("utterance",), ("document",),
)  # fmt: skip
"""Usual names of text columns; the first that exist are taken."""
LABELS = ("label", "category", "class", "sentiment", "topic", "intent", "labels", "target")


def look_at_file(path: Path, language: str, layout: FileLayout, model: str | None, max_length: int) -> Look:
    """Look at the rows of a file.

    Args:
        path: A file of any kind that a recipe reads.
        language: Any tag or name of its language.
        layout: The known layout of the file; columns without a name here are guessed, and a note names them.
        model: The base whose tokenizer reads the texts; None: no tokenizer reads them.
        max_length: The most tokens of a row; longer ones are cut.

    Raises:
        UserError: The file cannot be read, its columns cannot be guessed, or the language or the model is unknown.
    """
    tag = find_language(language).tag
    pieces = None if model is None else BaseTokenizer(model).read
    if path.is_dir():
        raise UserError(f"{path}: expected a recipe or a file of rows, found a folder; name one of its files")
    layout = replace(layout, format=layout.format or format_of(path) or ("fasttext" if _is_fasttext(path) else None))
    labels: list[str] = []
    if is_nested(path, layout):
        asks, rows = True, lambda: read_questions(path)
    else:
        first = next(row for _, row in rows_of([path], layout))
        layout, asks = _guessed(path, first, layout)
        rows = (lambda: read_questions(path)) if asks else (lambda: _examples(path, layout, labels))
    looker = Looker(path.name, labels, asks, tag, pieces, model or "")
    looker.read([Share(tag, "file", rows, max_length)])
    return looker.found()


def _is_fasttext(path: Path) -> bool:
    if not path.is_file():
        return False
    with open_bytes(path) as file:
        return file.read(9) == b"__label__"


def _guessed(path: Path, first: Row, layout: FileLayout) -> tuple[FileLayout, bool]:
    """Return the layout with the columns of the texts and the label, and whether the rows are questions."""
    names = {str(name).lower(): str(name) for name in first.cells}
    notes: list[str] = []
    texts: tuple[Column, ...] = layout.texts
    if not texts:
        if all(name in names for name in QUESTION):
            return layout, True
        known = next((each for each in TEXTS if all(name in names for name in each)), None)
        if known is None:
            found = [str(name) for name in first.cells]
            advice = other_delimiter(found) or "; add --text COLUMN"
            raise UserError(f"{first.origin}: no column that is called as texts are, among {listed(found)}{advice}")
        texts = tuple(names[name] for name in known)
        notes.append(f"text: {', '.join(map(str, texts))}")
    label = layout.label or next((names[name] for name in LABELS if name in names and names[name] not in texts), None)
    if label is not None and layout.label is None:
        notes.append(f"label: {label}")
    if notes:
        _log.warning("%s: columns taken by their names, %s; --text and --label say others", path.name, "; ".join(notes))
    return replace(layout, texts=texts, label=label), False


def _examples(path: Path, layout: FileLayout, labels: list[str]) -> Iterator[Example]:
    """Yield the rows of a file, and add each new label to `labels`."""
    known = {label: number for number, label in enumerate(labels)}
    for number, (_, row) in enumerate(rows_of([path], layout)):
        label = None
        if layout.label is not None and (cell := row.cell(layout.label)) not in (None, ""):
            label = known.setdefault(str(cell), len(known))
            labels += [str(cell)] if label == len(labels) else []
        yield Example(str(number), tuple(row.text(name) for name in layout.texts), label, None, row.origin)


FILE = "tokenizer.json"


class BaseTokenizer:
    """The tokenizer of a base model; the library `tokenizers` reads the file of fast ones, and needs no torch.

    Raises:
        UserError: The model is missing.
    """

    def __init__(self, name: str, revision: str | None = None) -> None:
        from tokenizers import Tokenizer

        self._slow: Any = None
        self._fast: Any = None
        unknown: int | None = None
        if (path := _file(name, revision)) is None:
            self._slow = _transformers(name, revision)
            unknown = self._slow.unk_token_id
        else:
            self._fast = Tokenizer.from_file(str(path))
            self._fast.no_truncation()
            self._fast.no_padding()
            model = json.loads(path.read_text(encoding="utf-8"))["model"]
            word = model.get("unk_token")
            unknown = model.get("unk_id") if word is None else self._fast.token_to_id(word)
        self._unknown = -1 if unknown is None else unknown

    def read(self, rows: Sequence[tuple[str, ...]]) -> list[tuple[int, int, int]]:
        """Return (tokens, special ones included; pieces, without them; unknown pieces) of each row of texts."""
        if self._fast is None:
            found: list[list[int]] = [self._slow(*texts, verbose=False)["input_ids"] for texts in rows]
        else:
            given: list[Any] = [texts if texts[1:] else texts[0] for texts in rows]
            found = [each.ids for each in self._fast.encode_batch_fast(given)]
        more: dict[bool, int] = {
            pair: (self._fast or self._slow).num_special_tokens_to_add(pair) for pair in (False, True)
        }
        special = [more[len(texts) > 1] for texts in rows]
        return [
            (len(ids), len(ids) - extra, ids.count(self._unknown)) for ids, extra in zip(found, special, strict=True)
        ]


def _file(name: str, revision: str | None) -> Path | None:
    """Return the tokenizer's file, fetched from the hub if necessary; None where the model has no such file."""
    from crossflare.training.bases.packaged import base_place

    where = Path(base_place(model_place(name))).expanduser()
    if where.is_dir():
        return where / FILE if (where / FILE).is_file() else None
    if name.startswith((".", "/", "~")):
        raise UserError(f"model '{name}': there is no such folder; check the path, or give a name on the hub", "usage")
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(name, FILE, revision=revision))
    except LocalEntryNotFoundError as error:
        said = "is not on this machine, and the hub cannot be reached; give the folder of a copy"
        raise UserError(f"model '{name}' {said}", "usage") from error
    except EntryNotFoundError:
        return None
    except (OSError, HFValidationError) as error:
        said = " ".join(str(error).split())
        raise UserError(f"model '{name}' cannot be read from the hub ({said:.200}); check the name", "usage") from error


def _transformers(name: str, revision: str | None) -> Any:
    """Return the tokenizer of a model without a file of a fast one; this loads torch."""
    from transformers import AutoTokenizer

    from crossflare.libraries.transformers import quiet
    from crossflare.training.bases.load import loading, place_of

    with loading(name), quiet():
        return AutoTokenizer.from_pretrained(place_of(name, revision), trust_remote_code=False, revision=revision)
