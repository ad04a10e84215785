"""Scripts: the one that a letter belongs to, and those that a language is written in."""

import unicodedata
from functools import lru_cache

from crossflare.languages import find_language

NAMES = {
    "Latn": "LATIN", "Cyrl": "CYRILLIC", "Arab": "ARABIC", "Deva": "DEVANAGARI", "Beng": "BENGALI", "Grek": "GREEK",
    "Hani": "CJK", "Hans": "CJK", "Hant": "CJK", "Jpan": "CJK HIRAGANA KATAKANA", "Hang": "HANGUL", "Kore": "HANGUL",
    "Hebr": "HEBREW", "Armn": "ARMENIAN", "Geor": "GEORGIAN", "Ethi": "ETHIOPIC", "Thai": "THAI", "Laoo": "LAO",
    "Khmr": "KHMER", "Mymr": "MYANMAR", "Taml": "TAMIL", "Telu": "TELUGU", "Knda": "KANNADA", "Mlym": "MALAYALAM",
    "Gujr": "GUJARATI", "Guru": "GURMUKHI", "Orya": "ORIYA", "Sinh": "SINHALA", "Tibt": "TIBETAN", "Olck": "OL",
    "Tfng": "TIFINAGH", "Mong": "MONGOLIAN", "Thaa": "THAANA", "Nkoo": "NKO", "Syrc": "SYRIAC", "Mtei": "MEETEI",
    "Cans": "CANADIAN", "Cher": "CHEROKEE", "Java": "JAVANESE", "Sund": "SUNDANESE", "Bugi": "BUGINESE",
}  # fmt: skip
"""ISO 15924 -> the first words of the Unicode names of its letters."""
WORDS = frozenset(word for names in NAMES.values() for word in names.split())
"""Every first word of a letter's name that says its script."""


@lru_cache(maxsize=65536)
def script_word(letter: str) -> str:
    """Return the first word of the Unicode name of a letter, which for most letters is that of its script."""
    return unicodedata.name(letter, "").split(" ")[0].split("-")[0]


@lru_cache
def script_words(language: str) -> frozenset[str]:
    """Return the first words of the names of a language's letters; empty where its script is not known."""
    return frozenset(NAMES.get(find_language(language).script or "", "").split())
