"""XNLI: entailment between two texts (Conneau et al., EMNLP 2018, arXiv 1809.05053).

Layout of a folder, one sub-folder per language: `dev.tsv` and `test.tsv` without a header (premise, hypothesis, label),
human translations, row by row; `en/train.tsv` with a header (premise, hypo, label), the labelled source data;
`train_mt.tsv`, that file machine-translated row by row; `test_mt_en.tsv`, the test rows in English by a machine.

So `parallel` gives the human English text everywhere: as the source of a machine-translated training row it is what
translate-train has, as the source of a dev or test row it is an oracle. `machine_source` is what one has in earnest.
"""

from collections.abc import Sequence
from pathlib import Path

from crossflare.errors import UserError
from crossflare.tasks.columns import Columns, read_examples
from crossflare.tasks.dataset import LanguageParts
from crossflare.tasks.example import Example
from crossflare.tasks.kinds import TextTask

TASK = TextTask(
    "xnli",
    1,
    ("entailment", "neutral", "contradiction"),
    aliases={"contradictory": "contradiction"},
    text_count=2,
)
HEADER = ("premise", "hypo", "label")
FILES = {"train": ("train.tsv", "train_mt.tsv"), "dev": ("dev.tsv",), "test": ("test.tsv",)}
_COLUMNS = Columns(texts=("premise", "hypo"))


def open_xnli(folder: Path) -> LanguageParts:
    """Open a folder of the layout above, with the languages and parts that are there; ids are row numbers from 0."""
    parts: dict[str, list[str]] = {}
    for language in sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else ():
        present = [part for part in FILES if _path(folder, language, part) is not None]
        if present:
            parts[language] = present
    if not parts:
        raise UserError(f"{folder}: expected folders such as en/ with train.tsv or dev.tsv, found none; check the path")
    return LanguageParts(
        "xnli",
        TASK,
        parts,
        lambda language, part: _read(folder, language, part),
        align="row",
        machine=lambda language, part, source: _machine(folder, language, part, source),
    )


def _path(folder: Path, language: str, part: str) -> Path | None:
    return next((path for name in FILES[part] if (path := folder / language / name).is_file()), None)


def _read(folder: Path, language: str, part: str) -> tuple[Example, ...]:
    path = _path(folder, language, part)
    assert path is not None, "LanguageParts asks only for the parts that it was told of"
    return read_examples(path, TASK, _COLUMNS, header=None if part == "train" else HEADER, quotes=False)


def _machine(folder: Path, language: str, part: str, source: str) -> Sequence[Example] | None:
    path = folder / language / f"{part}_mt_{source}.tsv"
    return read_examples(path, TASK, _COLUMNS, header=HEADER, quotes=False) if path.is_file() else None
