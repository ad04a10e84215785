"""A table that is parted for a narrow terminal loses no column and no cell."""

from hypothesis import given
from hypothesis import strategies as st

from crossflare.cli.inspecting import halves
from crossflare.inspection.show import PART, Sheet


@given(st.booleans(), st.integers(2, 9), st.integers(1, 4))
def test_halves_hold_all_columns(parts: bool, columns: int, rows: int) -> None:
    keys = ("language", PART) if parts else ("language",)
    head = (*keys, *(f"column {n}" for n in range(columns)))
    sheet = Sheet("Rows", head, tuple(tuple(f"{r} {name}" for name in head) for r in range(rows)), len(keys), "legend")
    one, other = halves(sheet)
    assert (*one.head, *other.head[len(keys) :]) == head
    assert other.head[: len(keys)] == keys
    for whole, first, second in zip(sheet.rows, one.rows, other.rows, strict=True):
        assert (*first, *second[len(keys) :]) == whole
        assert (len(first), len(second)) == (len(one.head), len(other.head))
    assert other.legend == "legend"
