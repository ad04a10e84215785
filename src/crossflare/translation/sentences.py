"""Where sentences end, by rules for the marks of each script."""

import re

from crossflare.languages import bare_tag

_CLOSERS = "\"'\u2019\u201d\u00bb\u203a)\\]}\u300d\u300f\uff09\u3011\u300b\u3009"
_OPENERS = "\"'\u2018\u201c\u00ab\u2039(\\[{\u00bf\u00a1\u2014\u2013-"
# Marks that end a sentence everywhere: CJK, Devanagari and its relatives, Burmese, Khmer, Ethiopic, Tibetan.
_ALWAYS = "\u3002\uff01\uff1f\uff61\u0964\u0965\u104b\u17d4\u17d5\u1362\u1367\u1368\u0f0d\u0f0e"
# Marks that end a sentence only before white space: Latin, Arabic, Urdu, Armenian.
_BEFORE_BLANK = "!?\u2026\u061f\u06d4\u0589"
_END = re.compile(
    rf"(?P<always>[{_ALWAYS}]+[!?{_ALWAYS}]*[{_CLOSERS}]*)"
    rf"|(?P<mark>[.{_BEFORE_BLANK}]*[{_BEFORE_BLANK}][.{_BEFORE_BLANK}]*[{_CLOSERS}]*)(?=\s)"
    rf"|(?P<stop>\.+[{_CLOSERS}]*)(?=\s)"
)
_WORD_BEFORE = re.compile(r"[\w.]+\Z")
_NEXT = re.compile(rf"\s+[{_OPENERS}]*(\S?)")
_GAP = re.compile(r"\s*")
ABBREVIATIONS = frozenset(
    """
    mr mrs ms dr prof st sr sra srta jr mt rev gen col lt sgt capt gov sen rep hon vs etc cf eg ie al ed eds approx ca
    dept inc ltd co corp jan feb mar apr jun jul aug sept sep oct nov dec
    bzw usw evtl ggf str bd hr fr bzgl inkl mme mlle av ej ud uds dña avda sig sigg dott
    г гг т тт др пр рис им ул см тыс млн руб проф д
    """.split()  # noqa: SIM905
)
"""Words, in lower case and without dots, after which a full stop ends no sentence."""
NUMBERED = frozenset("no nos nr nrs fig figs eq vol vols pp p pg ch sec abs art pág págs núm стр".split())  # noqa: SIM905
"""Words that are abbreviations only before a number."""
ORDINAL_DOT = frozenset("de da nb nn fi et lv lt cs sk sl hr sr bs hu pl is fo tr az eu lb hsb".split())  # noqa: SIM905
"""Languages that write `3.` for `third`."""


def sentences(text: str, language: str = "") -> list[tuple[str, str]]:
    """Split a text into sentences and the blanks between them.

    Args:
        text: Any text. A line break always ends a sentence.
        language: Any tag or name of its language; only used for full stops that make a number ordinal.

    Returns:
        (sentence, blanks after it) pairs, which joined give `text`. No sentence starts or ends with white space; only
        the first may be empty. Scripts with neither marks nor line breaks (Thai, Lao) give one sentence.
    """
    pieces: list[tuple[str, str]] = []
    start = 0
    if text[:1].isspace():
        start = _blank_end(text, 0)
        pieces.append(("", text[:start]))
    for end in _ends(text, start, bare_tag(language)):
        if end > start:
            after = _blank_end(text, end)
            pieces.append((text[start:end], text[end:after]))
            start = after
    return pieces


def _ends(text: str, start: int, language: str) -> list[int]:
    """Return the ends of all sentences, without the blanks after them; the last is that of the text's last sign."""
    marks = [match.end() for match in _END.finditer(text, start) if _is_end(match, text, language)]
    lines = [match.start() for match in re.finditer(r"\s*[\n\r\u0085\u2028\u2029]", text)]
    return sorted({*marks, *lines, len(text.rstrip())})


def _blank_end(text: str, start: int) -> int:
    found = _GAP.match(text, start)
    return found.end() if found else start


def _is_end(match: re.Match[str], text: str, language: str) -> bool:
    if match["always"]:
        return True
    following = _NEXT.match(text, match.end())
    sign = following[1] if following else ""
    if sign.islower():
        return False
    if match["mark"]:
        return True
    before = _WORD_BEFORE.search(text, max(match.start() - 40, 0), match.start())
    if before is None:
        return True
    word = before[0].strip(".")
    if len(match["stop"].rstrip(_CLOSERS.replace("\\", ""))) > 1:  # an ellipsis
        return True
    if word.isdecimal() and len(word) < 3:  # `3.` at the start of a line counts, elsewhere it may be an ordinal
        line = text.rfind("\n", 0, before.start()) + 1
        return text[line : before.start()].strip() != "" and language not in ORDINAL_DOT
    if (len(word) == 1 and word.isupper()) or ("." in word and len(word) < 7):  # an initial, `e.g.`, `U.S.`
        return False
    small = word.replace(".", "").lower()
    return small not in ABBREVIATIONS and not (small in NUMBERED and sign.isdecimal())
