"""Rows with other sources, for controls and methods, and the flags of their translations."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from crossflare.disk.files import content_id
from crossflare.tasks.example import GAP, SOURCE, Example, Split, outline_of
from crossflare.translation.quality import Flag, clean_rows, count_flags, find_flags

SEED_OF_SHUFFLING = 0
"""The seed of the one draw: every method and seed gets the same wrong sources."""


def controlled(split: Split, source: str) -> Split:
    """Return the rows as they are, or with a control's source: none, the target text, or the source of another row.

    The other row is drawn once for all seeds.
    """
    if source == "target":
        return replace(split, examples=tuple(example.with_source(example.texts) for example in split))
    if source == "none":
        return replace(split, examples=tuple(example.with_source(None) for example in split))
    if source != "shuffled":
        return split
    order = np.random.default_rng(SEED_OF_SHUFFLING).permutation(len(split))
    following = dict(zip(order.tolist(), np.roll(order, 1).tolist(), strict=True))  # one cycle: no row keeps its own
    rows = split.examples
    return replace(split, examples=tuple(row.with_source(rows[following[i]].source) for i, row in enumerate(rows)))


def read_alone(split: Split) -> Split:
    """Return rows with their sources as texts, as translate-test reads them."""
    rows = [replace(e, texts=e.source, source=None) if e.source is not None else e for e in split]
    return replace(split, examples=tuple(rows))


def with_labelled_sources(split: Split, labelled: Split) -> Split:
    """Return rows of questions with the gold answers of their sources, if the source is one of the `labelled` rows."""
    known = {(e.id, e.texts): e.answers for e in labelled}
    rows = [e if e.source is None else replace(e, source_answers=known.get((e.id, e.source), ())) for e in split]
    return replace(split, examples=tuple(rows))


def joined_tag(languages: Sequence[str]) -> str:
    """Return the languages of a joint adapter as they appear in names of files, records and labels."""
    return "+".join(languages)


def digest(*splits: Split) -> str:
    """Return one content id for several splits."""
    return content_id([split.digest for split in splits])


def counts(examples: tuple[Example, ...]) -> dict[str, int]:
    """Return how many rows have an empty text, and how many have no source."""
    rows = outline_of(examples)
    return {"empty": rows.having(GAP), "no_source": len(rows) - rows.having(SOURCE)}


Texts = Sequence[tuple[str, ...]]


def row_flags(before: Texts, after: Texts, source: str, target: str) -> list[frozenset[Flag]]:
    """Return the flags of each row: all flags of its texts.

    Args:
        before: The texts of each row, in the language `source`.
        after: Their translations, in the language `target`.
        source: A BCP-47 tag.
        target: A BCP-47 tag.
    """
    return [
        frozenset[Flag]().union(*(find_flags(a, b, source, target) for a, b in zip(texts, others, strict=True)))
        for texts, others in zip(before, after, strict=True)
    ]


def to_target(split: Split, source: str) -> list[frozenset[Flag]]:
    """Return the flags of rows whose texts are the translations of their sources, which are in `source`."""
    rows = [(e.source if e.source is not None else e.texts, e.texts) for e in split]
    return [
        frozenset() if before is after else row_flags([before], [after], source, split.language)[0]
        for before, after in rows
    ]


def to_source(split: Split, source: str) -> list[frozenset[Flag]]:
    """Return the flags of rows whose sources, in `source`, are the translations of their texts."""
    rows = [(e.texts, e.source if e.source is not None else e.texts) for e in split]
    return [
        frozenset() if before is after else row_flags([before], [after], split.language, source)[0]
        for before, after in rows
    ]


def without(split: Split, flags: Sequence[frozenset[Flag]], unwanted: Iterable[str]) -> Split:
    """Return the rows that have none of the unwanted flags."""
    kept = clean_rows(flags, [Flag(name) for name in unwanted])
    return replace(split, examples=tuple(split.examples[place] for place in kept))


def counted(flags: Sequence[frozenset[Flag]], dropped: int = 0) -> dict[str, int]:
    """Return `count_flags` as a record has it: rows, flagged rows, the flags that occur, and the dropped rows."""
    counts = {name: count for name, count in count_flags(flags).items() if count or name in ("rows", "flagged")}
    return counts | ({"dropped": dropped} if dropped else {})
