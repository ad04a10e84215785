"""How good translations are: flags per text that need no reference, their counts, and BLEU and chrF."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from crossflare.errors import UserError
from crossflare.languages import find_language, script_word, script_words
from crossflare.translation.translate import UNSPACED

LENGTH_RATIO = 3.0
"""The length of one text over that of the other, from which on `LENGTH` is set."""
SHORT = 20
"""Lengths are not compared when both texts are shorter than this."""
_NUMBER = re.compile(r"\d+(?:[.,'\u066b\u066c\u00a0\u202f]\d+)*")
# A unit of 2 to 100 characters four times in a row, or one character ten times.
_LOOP = re.compile(r"(.{2,100}?)\1{3}|(\S)\2{9}", re.DOTALL)


class Flag(StrEnum):
    """One thing that is wrong, or may be wrong."""

    EMPTY = "empty"
    """Nothing came back for a text."""
    COPIED = "copied"
    """The text came back unchanged (three words or more)."""
    WRONG_SCRIPT = "wrong_script"
    """Most letters are from another script than the target language's."""
    REPETITION = "repetition"
    """Something repeats over and over, and does not in the source."""
    LENGTH = "length"
    """The translation is much longer or much shorter than the source."""
    NUMBERS = "numbers"
    """A number of two digits or more is not in the translation."""


def find_flags(source: str, output: str, source_language: str, target_language: str) -> frozenset[Flag]:
    """Return what looks wrong in `output`, the translation of `source`; nothing for a blank source.

    Args:
        source: The text that was translated.
        output: Its translation.
        source_language: BCP-47 tag.
        target_language: BCP-47 tag; its script comes from the table of languages, or is not compared.
    """
    if not source.strip():
        return frozenset()
    if not output.strip():
        return frozenset({Flag.EMPTY})
    found = {
        Flag.COPIED: len(source.split()) > 2 and _folded(source) == _folded(output),
        Flag.WRONG_SCRIPT: _wrong_script(output, target_language),
        Flag.REPETITION: _loops(output) and not _loops(source),
        Flag.LENGTH: _unequal(_length(source), _length(output)),
        Flag.NUMBERS: bool(_numbers(source) - _numbers(output)),
    }
    return frozenset(flag for flag, raised in found.items() if raised)


def count_flags(flags: Iterable[frozenset[Flag]]) -> dict[str, int]:
    """Return `rows`, `flagged` (rows with any flag), and how many rows have each flag."""
    counts = {"rows": 0, "flagged": 0} | {flag.value: 0 for flag in Flag}
    for row in flags:
        counts["rows"] += 1
        counts["flagged"] += bool(row)
        for flag in row:
            counts[flag.value] += 1
    return counts


def clean_rows(flags: Sequence[frozenset[Flag]], unwanted: Iterable[Flag] = tuple(Flag)) -> list[int]:
    """Return the places of the rows that have none of the flags `unwanted`."""
    out = frozenset(unwanted)
    return [place for place, row in enumerate(flags) if not row & out]


def _loops(text: str) -> bool:
    """Whether something repeats over and over; first look for six letters that occur twice, which is faster."""
    sixes = len(text) - 5
    return sixes > 1 and len({text[i : i + 6] for i in range(sixes)}) < sixes and _LOOP.search(text) is not None


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def _wrong_script(text: str, language: str) -> bool:
    scripts = script_words(language)
    if not scripts:
        return False
    letters = [script_word(sign) in scripts for sign in text if sign.isalpha()]
    return len(letters) > 3 and 2 * sum(letters) < len(letters)


def _length(text: str) -> float:
    """Return the length of a text, where a syllable or word sign counts as the letters it stands for."""
    weights = {"CJK": 3.0, "HANGUL": 2.0, "HIRAGANA": 2.0, "KATAKANA": 2.0}
    if text.isascii():
        return float(len(text))
    return sum(1.0 if sign < "\u1100" else weights.get(script_word(sign), 1.0) for sign in text)


def _unequal(source: float, output: float) -> bool:
    return max(source, output) >= SHORT and not 1 / LENGTH_RATIO <= output / source <= LENGTH_RATIO


def _numbers(text: str) -> set[str]:
    """Return the numbers of a text as digits, of any script and without separators; single digits count as words."""
    found = ("".join(str(unicodedata.digit(sign, "")) for sign in number) for number in _NUMBER.findall(text))
    return {number for number in found if len(number) > 1}


@dataclass(frozen=True, slots=True)
class Quality:
    """Scores between 0 and 1 of a set of translations, with the signatures of sacrebleu."""

    bleu: float
    chrf: float
    """chrF++ where words are written apart, else chrF."""
    signatures: tuple[str, str]
    texts: int


def measure(outputs: Sequence[str], references: Sequence[str], language: str) -> Quality:
    """Score translations against one reference each.

    Args:
        outputs: What the engine returned.
        references: The right translations, in the same order.
        language: BCP-47 tag of both; decides how words are separated.

    Raises:
        UserError: sacrebleu is not installed, or the counts differ or are zero.
    """
    try:
        from sacrebleu.metrics.bleu import BLEU
        from sacrebleu.metrics.chrf import CHRF
    except ImportError as error:
        raise UserError("BLEU and chrF need sacrebleu; install it: pip install 'crossflare[quality]'") from error
    if len(outputs) != len(references) or not outputs:
        raise UserError(
            f"expected as many translations as references, one or more, found {len(outputs)} and {len(references)}"
        )
    script = find_language(language).script
    chinese = script in ("Hans", "Hant", "Hani")
    bleu = BLEU(tokenize="zh" if chinese else "char" if script in UNSPACED else "13a")
    chrf = CHRF(word_order=0 if script in UNSPACED else 2)
    scores = [metric.corpus_score(list(outputs), [list(references)]).score / 100 for metric in (bleu, chrf)]
    signatures = (str(bleu.get_signature()), str(chrf.get_signature()))
    return Quality(scores[0], scores[1], signatures, len(outputs))
