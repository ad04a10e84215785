"""Rows that are shifted are found and by how much; texts that have nothing to do with each other are told apart."""

import random
from collections.abc import Sequence

import pytest

from crossflare.inspection.parallel import BLOCK, KeptRow, KeptRows, beaten, fit_of
from crossflare.tasks.phrasebook import phrasebook

Pairs = list[tuple[KeptRow, KeptRow]]


@pytest.fixture(scope="module")
def texts() -> dict[str, list[str]]:
    """The phrase book, with a number in each third row, as news has them."""
    data = phrasebook(0, train=300)
    numbers = random.Random(0).sample(range(100, 9999), 300)
    return {
        language: [
            f"{example.texts[0]} {numbers[place]}" if place % 3 == 0 else example.texts[0]
            for place, example in enumerate(data.split(language, "train"))
        ]
        for language in ("en", "sw", "es")
    }


def paired(texts: Sequence[str], sources: Sequence[str], ids: Sequence[str] | None = None) -> Pairs:
    names = ids or [f"row {place}" for place in range(len(texts))]
    both = zip(names, texts, sources, strict=True)
    return [
        (KeptRow(n, name, text, f"sw:{n}"), KeptRow(n, name, other, f"en:{n}"))
        for n, (name, text, other) in enumerate(both)
    ]


@pytest.mark.parametrize("language", ["sw", "es"])
def test_translations_are_parallel(texts: dict[str, list[str]], language: str) -> None:
    found = fit_of(paired(texts[language], texts["en"]))
    assert (found.parallel, found.shift, found.shifted) == (True, None, 0)
    assert found.fit > 0.8


@pytest.mark.parametrize("shift", [-60, -1, 1, 7])
def test_a_whole_shift_is_found(texts: dict[str, list[str]], shift: int) -> None:
    moved = texts["en"][-shift:] + texts["en"][:-shift]
    found = fit_of(paired(texts["sw"], moved))
    assert (found.shift, found.by, found.shifted) == (shift, "rows", 300 - abs(shift))
    here, there = (int(place.partition(":")[2]) for place in found.places[0])
    assert there - here == shift


def test_a_part_that_is_shifted_in_its_ids_is_found(texts: dict[str, list[str]]) -> None:
    """Ids in another order than the rows, as in NusaX: some texts belong to the row 100 ids before their own."""
    ids = list(range(300))
    random.Random(1).shuffle(ids)
    place = {name: row for row, name in enumerate(ids)}
    target = list(texts["sw"])
    for name in range(150, 190):
        target[place[name]] = texts["sw"][place[name - 100]]
    found = fit_of(paired(target, texts["en"], [str(name) for name in ids]))
    assert (found.parallel, found.shift, found.by) == (True, -100, "ids")
    assert 6 <= found.shifted <= 45


def test_unlike_texts_are_not_parallel(texts: dict[str, list[str]]) -> None:
    mixed = list(texts["en"])
    random.Random(2).shuffle(mixed)
    found = fit_of(paired(texts["sw"], mixed))
    assert (found.parallel, found.shift) == (False, None)
    assert 0.4 < found.fit < 0.6


def test_few_rows_say_nothing(texts: dict[str, list[str]]) -> None:
    assert fit_of(paired(texts["sw"][:20], texts["en"][5:25])).parallel is None


def test_copied_texts_are_counted(texts: dict[str, list[str]]) -> None:
    found = fit_of(paired(texts["en"][:40] + texts["sw"][40:], texts["en"]))
    assert found.copied == 40


def test_equal_scores_beat_half() -> None:
    import numpy as np

    assert beaten(np.zeros((5, 5), np.float32)) == 0.5
    assert beaten(np.eye(5, dtype=np.float32)) == 1.0
    assert beaten(-np.eye(5, dtype=np.float32)) == 0.0


@pytest.mark.parametrize("rows", [10, 120, 1000, 1037])
def test_the_same_rows_are_kept_in_every_language(rows: int) -> None:
    one, other = KeptRows(3 * BLOCK), KeptRows(3 * BLOCK)
    for number in range(rows):
        one.add(f"a {number}", ("x" * 2000,), "file:1")
        other.add(f"b {number}", ("y",), "file:1")
    assert [row.number for row in one.rows] == [row.number for row in other.rows]
    assert len(one.rows) <= 3 * BLOCK
    assert len(one.rows) > 2 * BLOCK or len(one.rows) == rows or rows < 3 * BLOCK
    assert all(len(row.text) == 1000 for row in one.rows)
    assert one.count == rows
