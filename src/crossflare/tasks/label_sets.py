"""Named sets with labels: NusaX-senti and XNLI, as their releases lay them out.

NusaX-senti: sentiment of the same 1000 texts in languages of Indonesia (Winata et al., EACL 2023, arXiv 2205.15960).
Texts are kept byte for byte, with the blanks around 3 % of them and with cells that are broken in the release
(`#ERROR!`, cut-off texts): stripping changes what an MT system and a content hash see, while subword tokenizers
mostly ignore it, and numbers stay comparable with those of others only on the released text.

XNLI: entailment between two texts (Conneau et al., EMNLP 2018, arXiv 1809.05053). Layout of a folder, one sub-folder
per language: `dev.tsv` and `test.tsv` without a header (premise, hypothesis, label), human translations, row by row;
`en/train.tsv` with a header (premise, hypo, label), the labelled source data; `train_mt.tsv`, that file machine-
translated row by row; `test_mt_en.tsv`, the test rows in English by a machine.

So `parallel` gives the human English text everywhere: as the source of a machine-translated training row it is what
translate-train has, as the source of a dev or test row it is an oracle. `machine_source` is what one has in earnest.
"""

from collections.abc import Sequence
from pathlib import Path

from crossflare.errors import UserError
from crossflare.tasks.columns import read_examples
from crossflare.tasks.dataset import LanguageParts
from crossflare.tasks.example import Example
from crossflare.tasks.kinds import TextTask
from crossflare.tasks.layout import FileLayout

NUSAX = TextTask("nusax", 1, ("negative", "neutral", "positive"), main_metric="macro_f1")
FOLDERS = {
    "ace": "acehnese",
    "ban": "balinese",
    "bbc": "toba_batak",
    "bjn": "banjarese",
    "bug": "buginese",
    "en": "english",
    "id": "indonesian",
    "jv": "javanese",
    "mad": "madurese",
    "min": "minangkabau",
    "nij": "ngaju",
    "su": "sundanese",
}
NUSAX_FILES = {"train": "train.csv", "dev": "valid.csv", "test": "test.csv"}


def open_nusax(folder: Path) -> LanguageParts:
    """Open the release's layout, `<language name>/{train,valid,test}.csv`, with the languages that are there.

    All languages are parallel by id, by human translation. Ngaju ids 100 to 121 and nine of the first 20 are known to
    be misaligned by 100 in the release; labels follow the id, so nothing is moved here.
    """
    parts = {
        language: present
        for language, name in FOLDERS.items()
        if (present := [part for part, file in NUSAX_FILES.items() if (folder / name / file).is_file()])
    }
    if not parts:
        raise UserError(f"{folder}: expected folders such as english/ with train.csv, found none; see IndoNLP/nusax")
    return LanguageParts("nusax", NUSAX, parts, lambda language, part: _read_nusax(folder, language, part))


def _read_nusax(folder: Path, language: str, part: str) -> tuple[Example, ...]:
    return read_examples(folder / FOLDERS[language] / NUSAX_FILES[part], NUSAX, FileLayout(id="id"))


XNLI = TextTask(
    "xnli",
    1,
    ("entailment", "neutral", "contradiction"),
    aliases={"contradictory": "contradiction"},
    text_count=2,
)
HEADER = ("premise", "hypo", "label")
XNLI_FILES = {"train": ("train.tsv", "train_mt.tsv"), "dev": ("dev.tsv",), "test": ("test.tsv",)}
_HEADED = FileLayout(texts=("premise", "hypo"), quotes=False)
_HEADLESS = FileLayout(texts=("premise", "hypo"), quotes=False, header=HEADER)


def open_xnli(folder: Path) -> LanguageParts:
    """Open a folder of the layout above, with the languages and parts that are there; ids are row numbers from 0."""
    parts: dict[str, list[str]] = {}
    for language in sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else ():
        present = [part for part in XNLI_FILES if _path(folder, language, part) is not None]
        if present:
            parts[language] = present
    if not parts:
        raise UserError(f"{folder}: expected folders such as en/ with train.tsv or dev.tsv, found none; check the path")
    return LanguageParts(
        "xnli",
        XNLI,
        parts,
        lambda language, part: _read_xnli(folder, language, part),
        align="row",
        machine=lambda language, part, source: _machine(folder, language, part, source),
    )


def _path(folder: Path, language: str, part: str) -> Path | None:
    return next((path for name in XNLI_FILES[part] if (path := folder / language / name).is_file()), None)


def _read_xnli(folder: Path, language: str, part: str) -> tuple[Example, ...]:
    path = _path(folder, language, part)
    assert path is not None, "LanguageParts asks only for the parts that it was told of"
    return read_examples(path, XNLI, _HEADED if part == "train" else _HEADLESS)


def _machine(folder: Path, language: str, part: str, source: str) -> Sequence[Example] | None:
    path = folder / language / f"{part}_mt_{source}.tsv"
    return read_examples(path, XNLI, _HEADLESS) if path.is_file() else None
