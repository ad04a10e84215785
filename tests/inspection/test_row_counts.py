"""Rows, labels and repeated texts are counted as a slow and plain count has them."""

import unicodedata
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from crossflare.inspection.counting import RowTally
from crossflare.tasks.example import Example

TEXTS = st.sampled_from(["", " ", "a", "A", "a b", " a  b\n", "caf\u00e9", "cafe\u0301", "\u1e9b\u0323", "ab"])
ROWS = st.lists(st.tuples(TEXTS, TEXTS, st.sampled_from([None, 0, 1])), max_size=30)


def same(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(" ".join(unicodedata.normalize("NFC", text).split()) for text in texts)


def tally(rows: list[tuple[str, str, int | None]], file: str, first: int = 0) -> RowTally:
    made = RowTally(first)
    for line, (one, two, label) in enumerate(rows, 2):
        made.count(Example(str(line), (one, two), label, None, f"{file}:{line}"))
    return made


@given(ROWS)
def test_counts_of_one_part(rows: list[tuple[str, str, int | None]]) -> None:
    made = tally(rows, "train.csv")
    assert len(made) == len(rows)
    assert made.labelled() == Counter(-1 if label is None else label for *_, label in rows)
    gaps = [line for line, (one, two, _) in enumerate(rows, 2) if not one.strip() or not two.strip()]
    assert made.empty() == (len(gaps), f"train.csv:{gaps[0]}" if gaps else "")
    first: dict[tuple[str, ...], int | None] = {}
    again, unlike = 0, []
    for line, (one, two, label) in enumerate(rows, 2):
        key = same((one, two))
        if any(key):
            again += key in first
            if key in first and None not in (first[key], label) and first[key] != label:
                unlike.append(f"train.csv:{line}")
            first.setdefault(key, label)
    assert made.again() == again
    assert made.unlike()[0] == len(unlike)
    assert [here for _, here in made.unlike()[1]] == unlike[:2]


@given(ROWS, ROWS)
def test_rows_of_one_part_in_another(
    train: list[tuple[str, str, int | None]], test: list[tuple[str, str, int | None]]
) -> None:
    for cut in (0, 1):
        theirs, mine = tally(train, "train.csv", cut), tally(test, "test.csv", cut)
        places: dict[tuple[str, ...], str] = {}
        for line, (*texts, _) in enumerate(train, 2):
            if any(same(tuple(texts[cut:]))):
                places.setdefault(same(tuple(texts[cut:])), f"train.csv:{line}")
        keys = [same(tuple(texts[cut:])) for *texts, _ in test]
        met = [(places[key], f"test.csv:{line}") for line, key in enumerate(keys, 2) if key in places]
        assert mine.within(theirs) == (len(met), met[:2])


def test_a_row_is_named_with_its_file() -> None:
    made = RowTally()
    for file in ("a.csv", "b.csv"):
        for line in (2, 3):
            made.count(Example("", ("same",), origin=f"{file}:{line}"))
    assert [made.place(row) for row in range(4)] == ["a.csv:2", "a.csv:3", "b.csv:2", "b.csv:3"]
