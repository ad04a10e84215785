"""TyDiQA, the gold passage task (Clark et al., TACL 2020, arXiv 2003.05002): questions on one paragraph of Wikipedia.

Layout of a folder, one sub-folder per language: `train.json` and `dev.json` in SQuAD's layout. The official dev part is
what papers score, so it is our `test`, whole; rows to choose models by are cut from `train` (`with_dev`). The languages
are not translations of each other.

Some Swahili test questions are asked of a context that also stands in train (94 of 499 in the release, two of them
under the same id); nothing is taken out. Answers are compared as the official gold passage evaluation does it,
by the script of SQuAD v1.1 in every language.
"""

from pathlib import Path

from crossflare.errors import UserError
from crossflare.tasks.dataset import LanguageParts
from crossflare.tasks.kinds import QuestionTask
from crossflare.tasks.squad import read_questions

TASK = QuestionTask("tydiqa", 1, "squad")
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
        "tydiqa", TASK, parts, lambda language, part: read_questions(folder / language / FILES[part]), align="none"
    )
