"""The fast lane's tables: few cases, but each value of each column among them."""

import pytest

from lanes import cover, few, only

COLOURS, SIZES, PAIRS = ["red", "green", "blue", "grey"], [1, 2], [("a", "x"), ("a", "y"), ("b", "x")]


@pytest.mark.parametrize("axes", [(COLOURS, SIZES), (COLOURS, PAIRS, SIZES), (PAIRS,), (COLOURS,)])
def test_every_value_is_fast_and_no_case_is_lost(axes):
    cases = cover(*axes)
    fast = [each.values for each in cases if not each.marks]
    assert fast == sorted(few(*axes), key=[each.values for each in cases].index)
    columns = [{*column} for column in zip(*(each.values for each in cases), strict=True)]
    assert [{*column} for column in zip(*fast, strict=True)] == columns
    assert len(fast) == max(len(PAIRS) if PAIRS in axes else 0, *map(len, columns))
    assert len({each.values for each in cases}) == len(cases)


def test_all_others_are_slow():
    marks = [[mark.name for mark in each.marks] for each in only([(1,), (2,)], [(2,)])]
    assert marks == [["slow"], []]


def test_cases_that_are_none_are_refused():
    with pytest.raises(AssertionError, match="no cases of this table"):
        only([(1,)], [(3,)])
    with pytest.raises(AssertionError, match="needs a fast case"):
        only([(1,)], [])
