"""XQuAD: 1190 questions of SQuAD v1.1 translated by people (Artetxe et al., ACL 2020, arXiv 1910.11856).

Layout of a folder: `xquad.<language>.json` in SQuAD's layout, parallel by id in all languages. There is a test part
only: train on SQuAD or on another set. Answers are compared by MLQA's rules for each language.
"""

from pathlib import Path

from crossflare.errors import UserError
from crossflare.tasks.dataset import LanguageParts
from crossflare.tasks.kinds import QuestionTask
from crossflare.tasks.squad import read_questions

TASK = QuestionTask("xquad", 1, "mlqa")
LANGUAGES = ("ar", "de", "el", "en", "es", "hi", "ro", "ru", "th", "tr", "vi", "zh")


def open_xquad(folder: Path) -> LanguageParts:
    """Open a folder of the layout above, with the languages that are there."""
    paths = {language: path for language in LANGUAGES if (path := folder / f"xquad.{language}.json").is_file()}
    if not paths:
        raise UserError(f"{folder}: expected files such as xquad.es.json, found none; see google-deepmind/xquad")
    return LanguageParts(
        "xquad", TASK, dict.fromkeys(paths, ("test",)), lambda language, part: read_questions(paths[language])
    )
