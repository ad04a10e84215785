"""What is done to rows whole: another source than their own, what is known of it, and one id for several splits."""

from dataclasses import replace

import numpy as np

from crossflare.files import content_id
from crossflare.tasks.example import Example, Split

SEED_OF_SHUFFLING = 0
"""Drawn once: every method and seed meets the same wrong sources."""


def controlled(split: Split, source: str) -> Split:
    """Return the rows as they are, or with a control's source: none, the target, or another row's.

    The other row is drawn once for all seeds.
    """
    if source == "target":
        return replace(split, examples=tuple(example.with_source(example.texts) for example in split))
    if source == "none":
        return replace(split, examples=tuple(example.with_source(None) for example in split))
    if source != "shuffled":
        return split
    order = np.random.default_rng(SEED_OF_SHUFFLING).permutation(len(split))
    following = dict(zip(order.tolist(), np.roll(order, 1).tolist(), strict=True))  # one cycle: nobody keeps its own
    rows = split.examples
    return replace(split, examples=tuple(row.with_source(rows[following[i]].source) for i, row in enumerate(rows)))


def read_alone(split: Split) -> Split:
    """Return rows whose texts are their sources, as translate-test reads them."""
    rows = [replace(e, texts=e.source, source=None) if e.source is not None else e for e in split]
    return replace(split, examples=tuple(rows))


def with_labelled_sources(split: Split, labelled: Split) -> Split:
    """Return rows of questions with the gold answers of those sources that are themselves among the `labelled` rows."""
    known = {(e.id, e.texts): e.answers for e in labelled}
    rows = [e if e.source is None else replace(e, source_answers=known.get((e.id, e.source), ())) for e in split]
    return replace(split, examples=tuple(rows))


def digest(*splits: Split) -> str:
    """Return one content id for several splits."""
    return content_id([split.digest for split in splits])


def counts(examples: tuple[Example, ...]) -> dict[str, int]:
    """Return how many rows have an empty text, and how many no source."""
    return {
        "empty": sum(any(not text.strip() for text in e.texts) for e in examples),
        "no_source": sum(e.source is None for e in examples),
    }
