"""What texts show by themselves: their scripts and odd signs, and how a base model's tokenizer reads them.

`tokenizers` reads the file that transformers' fast tokenizers are read from, and needs no torch.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unicodedata import is_normalized

from crossflare.errors import UserError
from crossflare.languages import LETTER_WORDS, script_word, script_words
from crossflare.recipe.engines import model_place

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
                if sign.isalpha() and (word := script_word(sign)) in LETTER_WORDS:
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


FILE = "tokenizer.json"


class BaseTokenizer:
    """The tokenizer of a base model.

    Raises:
        UserError: The model is not there.
    """

    def __init__(self, name: str, revision: str | None = None) -> None:
        from tokenizers import Tokenizer

        self._slow: Any = None
        self._fast: Any = None
        unknown: int | None = None
        if (path := _file(name, revision)) is None:
            self._slow = _transformers(name, revision)
            unknown = self._slow.unk_token_id
        else:
            self._fast = Tokenizer.from_file(str(path))
            self._fast.no_truncation()
            self._fast.no_padding()
            model = json.loads(path.read_text(encoding="utf-8"))["model"]
            word = model.get("unk_token")
            unknown = model.get("unk_id") if word is None else self._fast.token_to_id(word)
        self._unknown = -1 if unknown is None else unknown

    def read(self, rows: Sequence[tuple[str, ...]]) -> list[tuple[int, int, int]]:
        """Return (tokens, special ones included; pieces, without them; unknown pieces) of each row of texts."""
        if self._fast is None:
            found: list[list[int]] = [self._slow(*texts, verbose=False)["input_ids"] for texts in rows]
        else:
            given: list[Any] = [texts if texts[1:] else texts[0] for texts in rows]
            found = [each.ids for each in self._fast.encode_batch_fast(given)]
        more: dict[bool, int] = {
            pair: (self._fast or self._slow).num_special_tokens_to_add(pair) for pair in (False, True)
        }
        special = [more[len(texts) > 1] for texts in rows]
        return [
            (len(ids), len(ids) - extra, ids.count(self._unknown)) for ids, extra in zip(found, special, strict=True)
        ]


def _file(name: str, revision: str | None) -> Path | None:
    """Return the tokenizer's file, fetched from the hub if need be; None where the model has no such file."""
    from crossflare.training.bases.packaged import base_place

    where = Path(base_place(model_place(name))).expanduser()
    if where.is_dir():
        return where / FILE if (where / FILE).is_file() else None
    if name.startswith((".", "/", "~")):
        raise UserError(f"model '{name}': there is no such folder; check the path, or give a name on the hub", "usage")
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(name, FILE, revision=revision))
    except LocalEntryNotFoundError as error:
        said = "is not on this machine, and the hub cannot be reached; give the folder of a copy"
        raise UserError(f"model '{name}' {said}", "usage") from error
    except EntryNotFoundError:
        return None
    except (OSError, HFValidationError) as error:
        said = " ".join(str(error).split())
        raise UserError(f"model '{name}' cannot be read from the hub ({said:.200}); check the name", "usage") from error


def _transformers(name: str, revision: str | None) -> Any:
    """Return the tokenizer of a model that has no file of a fast one; this loads torch."""
    from transformers import AutoTokenizer

    from crossflare.libraries.transformers import quiet
    from crossflare.training.bases.load import loading, place_of

    with loading(name), quiet():
        return AutoTokenizer.from_pretrained(place_of(name, revision), trust_remote_code=False, revision=revision)


@dataclass
class TokenTally:
    """Lengths in tokens, as counts: their number is that of different lengths, not of rows."""

    lengths: Counter[int] = field(default_factory=Counter[int])
    longest: tuple[int, str] = (-1, "")
    """Tokens of the longest row, and where it was read; -1: there is none."""
    pieces: int = 0
    unknown: int = 0

    def add(self, tokens: int, pieces: int, unknown: int, origin: str) -> None:
        """Count one row."""
        self.lengths[tokens] += 1
        self.longest = max(self.longest, (tokens, origin), key=lambda each: each[0])
        self.pieces += pieces
        self.unknown += unknown

    def quantile(self, share: float) -> int:
        """Return the least length that a share of the rows does not exceed; 0 without rows."""
        left = share * self.lengths.total()
        for length in sorted(self.lengths):
            left -= self.lengths[length]
            if left <= 0:
                return length
        return 0

    def above(self, limit: int) -> int:
        """Return how many rows are longer."""
        return sum(rows for length, rows in self.lengths.items() if length > limit)
