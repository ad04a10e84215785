"""What looks wrong in the translations of an experiment's rows: counted, and taken out of training where asked."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from crossflare.tasks.example import Split
from crossflare.translation.checks import Flag, check, clean_rows, count_flags

Texts = Sequence[tuple[str, ...]]


def row_flags(before: Texts, after: Texts, source: str, target: str) -> list[frozenset[Flag]]:
    """Return the flags of each row: those of any of its texts.

    Args:
        before: The texts of each row, in the language `source`.
        after: Their translations.
        source: BCP-47 tag.
        target: BCP-47 tag.
    """
    return [
        frozenset[Flag]().union(*(check(a, b, source, target) for a, b in zip(texts, others, strict=True)))
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
    """Return the rows that have none of the flags named."""
    kept = clean_rows(flags, [Flag(name) for name in unwanted])
    return replace(split, examples=tuple(split.examples[place] for place in kept))


def counted(flags: Sequence[frozenset[Flag]], dropped: int = 0) -> dict[str, int]:
    """Return `count_flags` as a record keeps it: rows, flagged, the flags that were raised, and the rows dropped."""
    counts = {name: count for name, count in count_flags(flags).items() if count or name in ("rows", "flagged")}
    return counts | ({"dropped": dropped} if dropped else {})
