"""Named sets of questions, as their releases lay them out, in SQuAD's layout."""

from crossflare.tasks.kinds import QuestionTask
from crossflare.tasks.released import OnHub, Release

_XQUAD_LANGUAGES = ("ar", "de", "el", "en", "es", "hi", "ro", "ru", "th", "tr", "vi", "zh")
XQUAD = Release(
    QuestionTask("xquad", 1, "mlqa"),
    {"test": "xquad.{language}.json"},
    languages={language: language for language in _XQUAD_LANGUAGES},
    hub=OnHub(
        "google/xquad",
        "51adfef1c1287aab1d2d91b5bead9bcfb9c68583",
        {"test": "xquad.{language}/validation-*.parquet"},
    ),
)
"""1190 questions of SQuAD v1.1 translated by people, parallel by id. There is a test part only: train on SQuAD or on
another set. Answers are compared by MLQA's rules for each language."""

_TYDIQA_NAMES = {
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
TYDIQA = Release(
    QuestionTask("tydiqa", 1, "squad"),
    {"train": "{language}/train.json", "test": "{language}/dev.json"},
    align="none",
    languages={language: language for language in _TYDIQA_NAMES},
    hub=OnHub(
        "google-research-datasets/tydiqa",
        "da78f23f9119363459acbaf46bf89426ff26c259",
        {"train": "secondary_task/train-*.parquet", "test": "secondary_task/validation-*.parquet"},
        languages={language: f"{name}-*" for language, name in _TYDIQA_NAMES.items()},
        column="id",
    ),
)
"""The gold passage task: questions on one paragraph of Wikipedia, not translations of each other. The official dev
part is what papers score, so it is our `test`, whole; rows to choose models by are cut from `train` (`with_dev`). Some
Swahili test questions are asked of a context that also stands in train (94 of 499 in the release, two of them under the
same id). Answers are compared as the official gold passage evaluation does it, by the script of SQuAD v1.1 in every
language."""
