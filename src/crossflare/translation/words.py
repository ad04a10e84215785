"""Words of any script: the one tokenisation of the lexicon and of the dictionary engine."""

import re
import unicodedata
from functools import cache

# Scripts written without blanks between words: every letter with its marks stands for itself.
_UNSPACED = (
    r"\u0E01-\u0E2E\u0E30-\u0E3A\u0E40-\u0E4E\u0E81-\u0EDF\u1000-\u109F\u1780-\u17D3\u3041-\u30FF"
    r"\u3400-\u4DBF\u4E00-\u9FFF\uF900-\uFAFF\U00020000-\U0003FFFF"
)
_INSIDE = "'\u2019\u02bc\u2018`\u00b4\u00b7\u05f3\u05f4\u200c\u200d-\u2010\u2011"
HYPHENS = "-\u2010\u2011"


@cache
def _marks() -> str:
    """All combining marks as the inside of a character class: the word characters of `re` lack them."""
    ranges: list[list[int]] = []
    for point in (*range(0x300, 0x20000), *range(0xE0100, 0xE01F0)):
        if unicodedata.category(chr(point)).startswith("M"):
            if ranges and ranges[-1][1] == point - 1:
                ranges[-1][1] = point
            else:
                ranges.append([point, point])
    return "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in ranges)


@cache
def _pattern() -> re.Pattern[str]:
    marks, inside = _marks(), re.escape(_INSIDE)
    spaced = rf"(?:(?![{_UNSPACED}])[\w{marks}])"
    return re.compile(rf"{spaced}+(?:[{inside}]{spaced}+)*|[{_UNSPACED}][{marks}\u200c\u200d]*")


def spans(text: str) -> list[tuple[int, int]]:
    """Return start and end of every word in `text`; what lies between them is white space and punctuation.

    A word is a run of letters, digits and combining marks; an apostrophe, a hyphen or a joiner inside it belongs to
    it. In scripts without blanks (Han, kana, Thai, Lao, Khmer, Burmese) it is one letter with its marks.
    """
    return [match.span() for match in _pattern().finditer(text)]


def fold(word: str) -> str:
    """Return the form under which a word is looked up: composed (NFC), small letters, one kind of apostrophe."""
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", word).lower())
    return re.sub("[\u2019\u02bc\u2018`\u00b4]", "'", re.sub(f"[{HYPHENS}]", "-", folded))


def words(text: str) -> list[str]:
    """Return the folded words of `text`."""
    return [fold(text[start:end]) for start, end in spans(text)]
