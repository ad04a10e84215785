"""What the characters of texts show: their scripts, two Unicode forms beside each other, signs that nobody sees."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from unicodedata import is_normalized

from crossflare.languages.scripts import WORDS, script_word, script_words

LEAST, SHARE = 3, 0.1
"""Letters of another script, and their share of all letters, from which a text is mixed."""
# Joiners are part of how Persian or Hindi is spelt, and of emoji: beside a blank or an ASCII sign they do nothing.
HIDDEN = re.compile(
    "[\u00ad\u180e\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]|[\u200c\u200d](?=[\\s\x00-\x7f]|\\Z)"
    "|(?:(?<=[\\s\x00-\x7f])|\\A)[\u200c\u200d]"
)
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufffd]")
"""Control characters other than tabs and line ends, and the sign that stands for bytes that could not be read."""
KINDS = {
    "other_script": "most letters are of another script",
    "romanised": "most letters are Latin",
    "mixed": "two scripts in one text",
    "decomposed": "letters and their marks apart (not NFC)",
    "hidden": "zero-width or direction signs",
    "control": "control characters or U+FFFD",
}
"""What is found in a row -> in words."""


@dataclass
class TextTally:
    """The texts of one language."""

    language: str
    rows: int = 0
    words: int = 0
    characters: int = 0
    letters: Counter[str] = field(default_factory=Counter[str])
    """First word of the names of letters, such as LATIN -> how many."""
    found: Counter[str] = field(default_factory=Counter[str])
    """One of `KINDS` -> rows."""
    first: dict[str, str] = field(default_factory=dict[str, str])
    """One of `KINDS` -> the first row that has it."""
    composed: int = 0
    """Rows that would be written otherwise with letters and marks apart."""

    def add(self, texts: Sequence[str], origin: str) -> None:
        """Count one row, its texts taken together."""
        text = "\n".join(texts)
        self.rows += 1
        self.words += len(text.split())
        self.characters += sum(map(len, texts))
        kinds = self._scripts(text)
        if not text.isascii():
            if not is_normalized("NFC", text):
                kinds.append("decomposed")
            elif not is_normalized("NFD", text):
                self.composed += 1
            kinds += ["hidden"] if HIDDEN.search(text) else []
        kinds += ["control"] if CONTROL.search(text) else []
        for kind in kinds:
            self.found[kind] += 1
            self.first.setdefault(kind, origin)

    def _scripts(self, text: str) -> list[str]:
        """Count the letters of a text and return what their scripts show."""
        own = script_words(self.language)
        if text.isascii():
            counts = Counter(LATIN=sum(map(str.isalpha, text)))
        else:
            counts = Counter[str]()
            for sign, times in Counter(text).items():
                if sign.isalpha() and (word := script_word(sign)) in WORDS:
                    counts[word] += times
        self.letters.update(counts)
        total = counts.total()
        mine = sum(counts[word] for word in own) if own else max(counts.values(), default=0)
        if total <= LEAST or mine == total:
            return []
        if own and 2 * mine < total:
            return ["romanised" if 2 * counts["LATIN"] >= total else "other_script"]
        return ["mixed"] if total - mine >= max(LEAST, SHARE * total) else []

    @property
    def script(self) -> tuple[str, float]:
        """The script of most letters, and its share of all letters; empty where there are none."""
        if not self.letters.total():
            return "", 0.0
        own = script_words(self.language)
        word, most = self.letters.most_common(1)[0]
        if word in own:
            most = sum(self.letters[each] for each in own)
            word = next(iter(sorted(own))) if len(own) > 1 else word
        return word.capitalize() if word != "CJK" else word, most / self.letters.total()
