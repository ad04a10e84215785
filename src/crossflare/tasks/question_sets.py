"""Named sets of questions: XQuAD and TyDiQA, as their releases lay them out.

XQuAD: 1190 questions of SQuAD v1.1 translated by people (Artetxe et al., ACL 2020, arXiv 1910.11856). FileLayout of a
folder: `xquad.<language>.json` in SQuAD's layout, parallel by id in all languages. There is a test part only: train
on SQuAD or on another set. Answers are compared by MLQA's rules for each language.

TyDiQA, the gold passage task (Clark et al., TACL 2020, arXiv 2003.05002): questions on one paragraph of Wikipedia.
Layout of a folder, one sub-folder per language: `train.json` and `dev.json` in SQuAD's layout. The official dev part
is what papers score, so it is our `test`, whole; rows to choose models by are cut from `train` (`with_dev`). The
languages are not translations of each other.

Some Swahili test questions are asked of a context that also stands in train (94 of 499 in the release, two of them
under the same id). Answers are compared as the official gold passage evaluation does it,
by the script of SQuAD v1.1 in every language.
"""

from pathlib import Path

from crossflare.errors import UserError
from crossflare.tasks.dataset import LanguageParts
from crossflare.tasks.kinds import QuestionTask
from crossflare.tasks.squad import read_questions

XQUAD = QuestionTask("xquad", 1, "mlqa")
LANGUAGES = ("ar", "de", "el", "en", "es", "hi", "ro", "ru", "th", "tr", "vi", "zh")


def open_xquad(folder: Path) -> LanguageParts:
    """Open a folder of the layout above, with the languages that are there."""
    paths = {language: path for language in LANGUAGES if (path := folder / f"xquad.{language}.json").is_file()}
    if not paths:
        raise UserError(f"{folder}: expected files such as xquad.es.json, found none; see google-deepmind/xquad")
    return LanguageParts(
        "xquad", XQUAD, dict.fromkeys(paths, ("test",)), lambda language, part: read_questions(paths[language])
    )


TYDIQA = QuestionTask("tydiqa", 1, "squad")
FILES = {"train": "train.json", "test": "dev.json"}
NAMES = {
    "ar": "arabic",
    "bn": "bengali",
    "en": "english",
    "fi": "finnish",
    "id": "indonesian",
    "ko": "korean",
    "ru": "russian",
    "sw": "swahili",
    "te": "telugu",
}
"""Language -> the English name that ids of its questions start with."""


def open_tydiqa(folder: Path) -> LanguageParts:
    """Open a folder of the layout above, with the languages and parts that are there."""
    parts = {
        language: present
        for language in NAMES
        if (present := [part for part, file in FILES.items() if (folder / language / file).is_file()])
    }
    if not parts:
        raise UserError(f"{folder}: expected folders such as sw/ with dev.json or train.json, found none")
    return LanguageParts(
        "tydiqa", TYDIQA, parts, lambda language, part: read_questions(folder / language / FILES[part]), align="none"
    )
