"""Texts through an engine and the store: each distinct text is translated once, and never again."""

import re
import time
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from crossflare.errors import UserError, choose
from crossflare.languages import find_language
from crossflare.progress import Advance, bar
from crossflare.translation.engines.protocol import Translator, check_pair, one_for_each
from crossflare.translation.sentences import sentences
from crossflare.translation.store import Shelf, Store

VERSION = 1
"""Raised when the same text would be split in another way."""
CHARACTERS = 1000
"""The budget, in characters, of an engine that does not count tokens."""
UNSPACED = frozenset({"Hani", "Hans", "Hant", "Jpan", "Thai", "Laoo", "Khmr", "Mymr", "Tibt"})
"""Scripts written without blanks between words."""
Piece = tuple[str, str]
"""The text that is translated, and the blanks after it, which are not."""
Measure = Callable[[Sequence[str]], Sequence[int]]

_CLAUSE = re.compile(r"[,;:\u061b\u060c\u1363\u1364\u1365\u2014\u2013]\s+|[\uff0c\u3001\uff1b\uff1a\u104a]\s*")
_BLANK = re.compile(r"\s+")


def split(text: str, fits: Callable[[Sequence[str]], Sequence[bool]], language: str = "") -> list[Piece]:
    """Split a text into its sentences; split those that do not fit at clauses, then at blanks, then anywhere.

    Args:
        text: Any text.
        fits: Says for each piece whether it is short enough; it gets many at once.
        language: BCP-47 tag of the text, for the rules of `sentences`.

    Returns:
        Pieces, which joined with their blanks give `text`. A single letter stays, even if it does not fit.
    """
    pieces = sentences(text, language)
    while True:
        answers = iter(fits([piece for piece, _ in pieces if piece]))
        halves = [[(piece, gap)] if not piece or next(answers) else _halve(piece, gap) for piece, gap in pieces]
        shorter = [piece for half in halves for piece in half]
        if len(shorter) == len(pieces):
            return pieces
        pieces = shorter


def join(pieces: Sequence[Piece], translations: Sequence[str], blank: bool = False) -> str:
    """Return translated pieces with the blanks between the originals.

    Args:
        pieces: The result of `split`.
        translations: The translations of the pieces, in order; an empty piece counts.
        blank: Put a blank where two pieces touched: for a script without blanks translated into one with blanks.
    """
    last = len(pieces) - 1
    return "".join(
        translation + (gap or (" " if blank and piece and number < last else ""))
        for number, ((piece, gap), translation) in enumerate(zip(pieces, translations, strict=True))
    )


class BySentence:
    """An engine that gets one sentence at a time, and parts of sentences that are longer than it can read."""

    def __init__(
        self, engine: Translator, budget: int | None = None, by: Literal["sentence", "budget"] = "sentence"
    ) -> None:
        """Wrap an engine.

        Args:
            engine: If it has `count_tokens(texts) -> list[int]`, this measures pieces; otherwise their characters are
                counted.
            budget: Tokens or characters per piece; by default the engine's `max_tokens`, or `CHARACTERS`.
            by: `sentence`: each sentence separately, as most models were trained; `budget`: texts that fit stay whole.

        Raises:
            UserError: A budget below 1.
        """
        if budget is not None and budget < 1:
            raise UserError(f"the budget of a piece of text: expected 1 or more, found {budget}")
        self.engine = engine
        self._by = choose("way of splitting", by, ("sentence", "budget"))
        self._budget = budget
        self._measure: Measure | None = getattr(engine, "count_tokens", None)
        self.identity: Mapping[str, Any] = {
            **engine.identity,
            "split": {"version": VERSION, "budget": budget, "by": by},
        }

    def translate(self, texts: Sequence[str], *, source: str, target: str) -> list[str]:
        """See `Translator.translate`; blanks between sentences, and paragraphs, stay as they are."""
        check_pair(source, target)
        whole = self._fits(texts) if self._by == "budget" else [False] * len(texts)
        split_texts = [
            [(text, "")] if fits else split(text, self._fits, source) for text, fits in zip(texts, whole, strict=True)
        ]
        wanted = list(dict.fromkeys(piece for pieces in split_texts for piece, _ in pieces if piece.strip()))
        done = one_for_each(self.engine.translate(wanted, source=source, target=target), len(wanted)) if wanted else []
        known = dict(zip(wanted, done, strict=True))
        blank = find_language(source).script in UNSPACED and find_language(target).script not in UNSPACED
        return [join(pieces, [known.get(piece, piece) for piece, _ in pieces], blank) for pieces in split_texts]

    def _fits(self, texts: Sequence[str]) -> list[bool]:
        budget = self._budget or getattr(self.engine, "max_tokens", None) or CHARACTERS
        if self._measure is None:
            return [len(text) <= budget for text in texts]
        return [count <= budget for count in self._measure(texts)] if texts else []


def _halve(piece: str, gap: str) -> list[Piece]:
    """Split a piece near its middle: after a clause mark, else at a blank, else between two letters."""
    middle = len(piece) // 2
    clauses = [
        match.span() for match in _CLAUSE.finditer(piece, 1) if len(piece) / 4 < match.end() < len(piece) * 3 / 4
    ]
    spans = clauses or [match.span() for match in _BLANK.finditer(piece)]
    if spans:
        start, end = min(spans, key=lambda span: abs(span[1] - middle))
        end_of_first = start + len(piece[start:end].rstrip())
        return [(piece[:end_of_first], piece[end_of_first:end]), (piece[end:], gap)]
    while middle > 0 and _sticks(piece[middle - 1], piece[middle]):
        middle -= 1
    return [(piece[:middle], ""), (piece[middle:], gap)] if middle else [(piece, gap)]


def _sticks(before: str, sign: str) -> bool:
    """Whether two characters make up one letter: a combining mark, or a joiner on either side."""
    return unicodedata.category(sign)[0] == "M" or "\u200d" in (before, sign)


BLOCK = 4096
"""How many texts are looked up together."""
QUICK = 0.5
"""Seconds: after a call of the engine that took less, the next one gets twice as many texts."""


def translate_all(
    store: Store, translator: Translator, texts: Sequence[str], source: str, target: str, batch: int = 256
) -> list[str]:
    """Translate `texts`, each distinct text once, and only those that the store lacks.

    Args:
        store: Where translations are looked up and kept.
        translator: The engine.
        texts: Texts in the language `source`.
        source: BCP-47 tag of the language translated from.
        target: BCP-47 tag of the language translated to.
        batch: Texts in the first call of the engine; later calls have more if it is quick. A call is kept whole or not.

    Returns:
        One translation per text, in order; blank texts stay as they are.
    """
    check_pair(source, target)
    done: list[str] = []
    label = f"{translator.identity.get('engine', 'translate')}: {source} to {target}"
    with store.shelf(translator.identity, source, target) as shelf, bar(label, len(texts)) as advance:
        for start in range(0, len(texts), BLOCK):
            block = texts[start : start + BLOCK]
            known = translate_block(shelf, translator, block, source, target, batch, advance)
            done += [known.get(text, text) for text in block]
    return done


def translate_block(
    shelf: Shelf,
    translator: Translator,
    texts: Sequence[str],
    source: str,
    target: str,
    batch: int = 256,
    advance: Advance | None = None,
) -> dict[str, str]:
    """Return the translation of each text that is not blank; those that `shelf` lacks are translated and kept."""
    wanted = dict.fromkeys(text for text in texts if text.strip())
    known = shelf.find(wanted)
    missing = [text for text in wanted if text not in known]
    tell: Callable[[int], None] = advance or (lambda rows: None)
    tell(len(texts) - len(missing))
    start = 0
    while start < len(missing):
        now = missing[start : start + batch]
        known |= shelf.find(now) if start else {}  # by now another process may have written some
        ours = [text for text in now if text not in known]
        begin = time.monotonic()
        if ours:
            done = one_for_each(translator.translate(ours, source=source, target=target), len(ours))
            pairs = list(zip(ours, done, strict=True))
            shelf.append(pairs)
            known |= dict(pairs)
        start += len(now)
        tell(len(now))
        if time.monotonic() - begin < QUICK:
            batch = min(2 * batch, BLOCK)
    return known


def for_long_texts(engine: Translator) -> Translator:
    """Return an engine that reads texts of any length: one with a token limit gets a sentence at a time."""
    return BySentence(engine) if hasattr(type(engine), "max_tokens") else engine
