"""How two answers are made comparable: the published rules of SQuAD v1.1 and of MLQA, each under its name.

`squad` is the rule of SQuAD v1.1's evaluate script (Rajpurkar et al., EMNLP 2016, arXiv 1606.05250), in every language:
lower case, no ASCII punctuation, no English article, blanks made one. The gold passage task of TyDiQA is scored so.

`mlqa` is the rule of MLQA's evaluation script, version 1 (Lewis et al., ACL 2020, arXiv 1910.07475): lower case, no
punctuation of any script, the articles of the language gone, and Chinese text split into signs. The script knows ar,
de, en, es, hi, vi and zh. Beyond it, and ours: other languages have no articles and are split at blanks; and th, ja,
km, lo and my, which are written without blanks too, are split into signs as Chinese is, a vowel or tone mark staying
with the sign before it. Two of the script's habits are kept, since they are in everyone's numbers: in Arabic the
letters of the article go wherever they stand, inside of words too; and in Chinese only the signs U+4E00 to U+9FA5
stand alone.
"""

import re
import string
import unicodedata
from collections.abc import Callable
from functools import cache, partial

from crossflare.errors import choose
from crossflare.languages import bare_tag

Normaliser = Callable[[str], str]
"""Text to its comparable form; the form's words, split at blanks, are what F1 counts."""

ARTICLES = {
    "ar": re.compile("ال"),
    "de": re.compile(r"\b(?:ein|eine|einen|einem|eines|einer|der|die|das|den|dem|des)\b"),
    "en": re.compile(r"\b(?:a|an|the)\b"),
    "es": re.compile(r"\b(?:un|una|unos|unas|el|la|los|las)\b"),
    "vi": re.compile(r"\b(?:của|là|cái|chiếc|những)\b"),
}
"""Language -> what MLQA's script takes for articles."""
SIGNS = {
    "zh": re.compile("[一-龥]"),
    "ja": re.compile("[一-龥々ぁ-ヿ]"),
    "th": re.compile("[\u0e00-\u0e7f]"),
    "lo": re.compile("[\u0e80-\u0eff]"),
    "my": re.compile("[\u1000-\u109f]"),
    "km": re.compile("[\u1780-\u17ff]"),
}
"""Language -> signs that are words of their own in the mixed segmentation."""
_NOT_ASCII_PUNCTUATION = str.maketrans("", "", string.punctuation)


def squad(text: str) -> str:
    """Return the form that SQuAD v1.1 compares."""
    return " ".join(ARTICLES["en"].sub(" ", text.lower().translate(_NOT_ASCII_PUNCTUATION)).split())


def mlqa(text: str, language: str) -> str:
    """Return the form that MLQA compares in a language, whose script and region do not matter."""
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
        language: Any tag or name of it; script and region do not matter.

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
    """Put blanks around every sign; with `keep_marks` a combining mark stays with the sign that it is written on."""
    parts: list[str] = []
    alone = False
    for sign in text:
        if alone and keep_marks and unicodedata.category(sign).startswith("M"):
            parts.append(sign)
            continue
        after, alone = alone, signs.match(sign) is not None
        parts.append(f" {sign}" if alone or after else sign)
    return "".join(parts)
