"""Exact match and F1 of answers, as SQuAD v1.1 defines them, over all gold answers of a question.

Every score belongs to one question and is between 0 and 1; a set's score is the mean over all of its questions,
including unanswered ones. `normaliser` has the rules by which texts are compared; the set decides which are
used.

`squad` is the rule of SQuAD v1.1's evaluate script (Rajpurkar et al., EMNLP 2016, arXiv 1606.05250), in every language:
lower case, no ASCII punctuation, no English article, blanks made one. The gold passage task of TyDiQA is scored so.

`mlqa` is the rule of MLQA's evaluation script, version 1 (Lewis et al., ACL 2020, arXiv 1910.07475): lower case, no
punctuation of any script, without the articles of the language, and Chinese text split into signs. The script knows ar,
de, en, es, hi, vi and zh. crossflare adds rules of its own beyond it: other languages have no articles and are split at
blanks; and th, ja, km, lo and my, which are written without blanks too, are split into signs as Chinese is, where a
vowel or tone mark stays with the sign before it. Two habits of the script are kept, since all published numbers have
them: in Arabic the letters of the article are removed everywhere, inside words too; and in Chinese only the signs
U+4E00 to U+9FA5 stand alone.
"""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crossflare.errors import UserError, choose
from crossflare.languages import bare_tag
from crossflare.tasks.example import Example

Normaliser = Callable[[str], str]
"""A text -> its comparable form; F1 counts the words of this form, split at blanks."""

ARTICLES = {
    "ar": re.compile("ال"),
    "de": re.compile(r"\b(?:ein|eine|einen|einem|eines|einer|der|die|das|den|dem|des)\b"),
    "en": re.compile(r"\b(?:a|an|the)\b"),
    "es": re.compile(r"\b(?:un|una|unos|unas|el|la|los|las)\b"),
    "vi": re.compile(r"\b(?:của|là|cái|chiếc|những)\b"),
}
"""Language -> what MLQA's script takes as articles."""
SIGNS = {
    "zh": re.compile("[一-龥]"),
    "ja": re.compile("[一-龥々ぁ-ヿ]"),
    "th": re.compile("[\u0e00-\u0e7f]"),
    "lo": re.compile("[\u0e80-\u0eff]"),
    "my": re.compile("[\u1000-\u109f]"),
    "km": re.compile("[\u1780-\u17ff]"),
}
"""Language -> signs that are words by themselves in the mixed segmentation."""
_NOT_ASCII_PUNCTUATION = str.maketrans("", "", string.punctuation)


def squad(text: str) -> str:
    """Return the form that SQuAD v1.1 compares."""
    return " ".join(ARTICLES["en"].sub(" ", text.lower().translate(_NOT_ASCII_PUNCTUATION)).split())


def mlqa(text: str, language: str) -> str:
    """Return the form that MLQA compares in a language; its script and region do not matter."""
    language = bare_tag(language)
    text = "".join(sign for sign in text.lower() if not _is_punctuation(sign))
    if language in ARTICLES:
        text = ARTICLES[language].sub(" ", text)
    if language in SIGNS:
        text = _split_signs(text, SIGNS[language], keep_marks=language != "zh")
    return " ".join(text.split())


def normaliser(style: str, language: str) -> Normaliser:
    """Return the normaliser of a task (`QuestionTask.normalisation`) for answers in a language.

    Args:
        style: `squad` or `mlqa`.
        language: Any tag or name of the language; script and region do not matter.

    Raises:
        UserError: The style is unknown.
    """
    return NORMALISERS[choose("way to compare answers", style, NORMALISERS)](bare_tag(language))


NORMALISERS: dict[str, Callable[[str], Normaliser]] = {
    "squad": lambda language: squad,
    "mlqa": lambda language: partial(mlqa, language=language),
}


@cache
def _is_punctuation(sign: str) -> bool:
    return sign in string.punctuation or unicodedata.category(sign).startswith("P")


def _split_signs(text: str, signs: re.Pattern[str], keep_marks: bool) -> str:
    """Put blanks around every sign; with `keep_marks` a combining mark stays with the sign that it belongs to."""
    parts: list[str] = []
    alone = False
    for sign in text:
        if alone and keep_marks and unicodedata.category(sign).startswith("M"):
            parts.append(sign)
            continue
        after, alone = alone, signs.match(sign) is not None
        parts.append(f" {sign}" if alone or after else sign)
    return "".join(parts)


@dataclass(frozen=True, slots=True)
class AnswerScores:
    """The scores of N questions."""

    exact_match: NDArray[np.float64]
    """[N] 0 or 1."""
    f1: NDArray[np.float64]
    """[N]."""


def exact_match(prediction: str, golds: Sequence[str], normalise: Normaliser) -> float:
    """Return 1 when the prediction equals one of the gold answers after normalisation, else 0."""
    answer = normalise(prediction)
    return float(any(answer == normalise(gold) for gold in golds))


def f1(prediction: str, golds: Sequence[str], normalise: Normaliser) -> float:
    """Return the best F1 of the prediction's words against those of a gold answer; repeated words count."""
    words = Counter(normalise(prediction).split())
    return max((_overlap(words, Counter(normalise(gold).split())) for gold in golds), default=0.0)


def _overlap(one: Counter[str], other: Counter[str]) -> float:
    # Without a common word the scripts return 0, even when both sides have no word at all.
    common = (one & other).total()
    if not common:
        return 0.0
    precision, recall = common / one.total(), common / other.total()
    return 2 * precision * recall / (precision + recall)


def score_answers(predictions: Sequence[str], examples: Sequence[Example], normalise: Normaliser) -> AnswerScores:
    """Return the scores of one predicted answer per question.

    Args:
        predictions: N answers; an empty one is wrong.
        examples: N questions with their gold answers.
        normalise: See `normaliser`.

    Raises:
        UserError: The counts differ or are zero, or a question has no gold answer.
    """
    if len(predictions) != len(examples):
        raise UserError(f"expected one answer per question, got {len(predictions)} for {len(examples)} questions")
    if not examples:
        raise UserError("expected at least one question to score, got none; check the test part of the data")
    golds: list[list[str]] = []
    for example in examples:
        if not example.answers:
            place = f"{example.origin}: " if example.origin else ""
            raise UserError(
                f"{place}question '{example.id}' has no gold answer to score against; label it or only predict"
            )
        golds.append([answer.text for answer in example.answers])
    pairs = list(zip(predictions, golds, strict=True))
    return AnswerScores(
        np.array([exact_match(prediction, gold, normalise) for prediction, gold in pairs]),
        np.array([f1(prediction, gold, normalise) for prediction, gold in pairs]),
    )


def position_match(predicted: ArrayLike, labelled: ArrayLike) -> NDArray[np.float64]:
    """Return the measure that the authors' released code calls exact match: token positions, not texts.

    It takes only the first window of each question, where an answer that was cut off is labelled (0, 0), so that
    pointing at the first token counts as right there. It is not comparable with exact match, and is only reported next
    to it, under its own name.

    Args:
        predicted: [N,2] the most likely start and end token of the first window, each chosen separately.
        labelled: [N,2] the labelled tokens; see `SpanRows.first_windows`.

    Returns:
        [N] 1 where both positions agree, else 0.
    """
    one, other = np.asarray(predicted), np.asarray(labelled)
    if one.shape != other.shape or one.ndim != 2 or one.shape[1] != 2:
        raise UserError(f"expected two arrays of [N,2] positions, got {list(one.shape)} and {list(other.shape)}")
    same: NDArray[Any] = (one == other).all(-1)
    return same.astype(np.float64)
