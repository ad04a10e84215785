"""Translations that the user provides: made elsewhere, given as aligned texts."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossflare.disk.files import content_id
from crossflare.errors import UserError
from crossflare.languages import tag_of
from crossflare.tasks.files import read_rows
from crossflare.tasks.lines import lines_without_returns
from crossflare.translation.engines.protocol import translate_filled

Pair = tuple[str, str]


def read_texts(path: Path | str) -> list[str]:
    """Return the lines of a file of texts; see `lines_without_returns`."""
    path = Path(path)
    try:
        return list(lines_without_returns(path))
    except FileNotFoundError as error:
        raise UserError(f"{path}: expected a text file with one text per line, found none; check the path") from error
    except OSError as error:
        raise UserError(f"{path}: expected a text file that can be read ({error.strerror}); check the path") from error


def read_pairs(
    *,
    source_file: str | None = None,
    target_file: str | None = None,
    pairs_file: str | None = None,
    source_column: str = "source",
    target_column: str = "target",
) -> list[Pair]:
    """Return (source text, target text) pairs.

    Args:
        source_file: One text per line.
        target_file: Its translation, line by line.
        pairs_file: A CSV, TSV, JSONL or Parquet file instead of both.
        source_column: Column of `pairs_file` with the source texts.
        target_column: Column of `pairs_file` with their translations.

    Raises:
        UserError: Neither form is given, or both; files of unequal length (the message has both counts); no pairs at
            all.
    """
    if pairs_file is not None and source_file is None and target_file is None:
        rows = read_rows(pairs_file)
        return [(row.text(source_column), row.text(target_column)) for row in rows]
    if pairs_file is not None or source_file is None or target_file is None:
        raise UserError("expected aligned texts: give source_file and target_file, or pairs_file alone")
    sources, targets = read_texts(source_file), read_texts(target_file)
    if len(sources) != len(targets):
        raise UserError(
            f"{source_file} holds {len(sources)} lines and {target_file} {len(targets)}: line i of one should translate"
            " line i of the other; align the files"
        )
    if not sources:
        raise UserError(f"{source_file}: expected one text per line, found an empty file; check the path")
    return list(zip(sources, targets, strict=True))


class Precomputed:
    """Looks each text up among the given pairs of one direction."""

    def __init__(self, pairs: Iterable[Pair], source: str, target: str, licence: str = "that of the files") -> None:
        """Take (text in `source`, its translation into `target`) pairs; of equal texts the first counts."""
        self._translations: dict[str, str] = {}
        for text, translation in pairs:
            self._translations.setdefault(text, translation)
        self._pair = (tag_of(source), tag_of(target))
        self.identity: dict[str, Any] = {
            "engine": "precomputed",
            "content": content_id(list(self._translations.items())),
            "source": self._pair[0],
            "target": self._pair[1],
            "licence": licence,
        }

    def translate(self, texts: Sequence[str], *, source: str, target: str) -> list[str]:
        """See `Translator.translate`.

        Raises:
            UserError: The files have other languages, or lack a text; the message has the count of missing texts.
        """
        pair = (tag_of(source), tag_of(target))
        if source != target and pair != self._pair:
            raise UserError(f"the files translate {' to '.join(self._pair)}, not {source} to {target}; give others")
        return translate_filled(texts, source, target, self._look_up)

    def _look_up(self, texts: list[str]) -> list[str]:
        missing = [text for text in texts if text not in self._translations]
        if missing:
            raise UserError(
                f"the files give no translation for {len(missing)} of {len(texts)} texts, the first is"
                f" {missing[0][:60]!r}; a text must be written exactly as in the files"
            )
        return [self._translations[text] for text in texts]


MAX_COPIES = 0.5
"""The largest share of pairs that may be untranslated; real corpora have a few per cent."""


MAX_RATIO = 5.0
"""The largest median ratio of characters; Chinese to English is about 3."""


ENOUGH = 100
"""With fewer pairs, shares and correlations show little."""


MIN_CORRELATION = 0.4
"""Least rank correlation of lengths of texts and translations: .72 to .97 when aligned, -.06 to .20 when shifted."""


def check_pairs(pairs: Sequence[Pair], name: str) -> None:
    """Refuse aligned texts that cannot be translations.

    Args:
        pairs: (text, translation).
        name: The name of the files, for messages.

    Raises:
        UserError: There is no filled pair; more than half are copies or lack one side; or lengths differ too much, or
            do not correlate, which is the effect of a missing line. The message has the numbers.
    """
    filled = [(text, other) for text, other in pairs if text.strip()]
    if not filled:
        raise UserError(f"{name}: expected texts and their translations, found {len(pairs)} empty pair(s)")
    empty = sum(not other.strip() for _, other in filled)
    if empty > MAX_COPIES * len(filled):
        raise UserError(f"{name}: {empty} of {len(filled)} texts have an empty translation; check the columns")
    both = [(text.strip(), other.strip()) for text, other in filled if other.strip()]
    copies = sum(text == other for text, other in both)
    if len(both) >= ENOUGH and copies > MAX_COPIES * len(both):
        raise UserError(
            f"{name}: {copies} of {len(both)} translations are copies of their texts ({copies / len(both):.0%}, at most"
            f" {MAX_COPIES:.0%}); check that the second side is translated, or set check: false"
        )
    lengths = np.array([[len(text), len(other)] for text, other in both], dtype=np.float64)
    ratio = float(np.median(lengths[:, 1] / lengths[:, 0]))
    if len(both) >= ENOUGH and not 1 / MAX_RATIO <= ratio <= MAX_RATIO:
        raise UserError(
            f"{name}: the middle translation has {ratio:.2f} times the characters of its text (expected"
            f" {1 / MAX_RATIO:g} to {MAX_RATIO:g}); check that line i translates line i, or set check: false"
        )
    if len(both) >= ENOUGH and len(np.unique(lengths[:, 0])) > 20:
        together = _correlation(lengths[:, 0], lengths[:, 1])
        if together < MIN_CORRELATION:
            raise UserError(
                f"{name}: the lengths of texts and translations do not go together (rank correlation {together:.2f},"
                f" at least {MIN_CORRELATION}): the lines are probably shifted; align them, or set check: false"
            )


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    from scipy.stats import spearmanr

    found: Any = spearmanr(a, b)
    return float(np.nan_to_num(found.statistic))
