"""Tables of cases in two lanes: a few that show every value run with `make test`, all of them with `make test-all`."""

from collections import Counter
from collections.abc import Collection, Iterable
from itertools import product
from typing import Any

import pytest

Case = tuple[Any, ...]


def cover(*axes: Iterable[Any]) -> list[Any]:
    """Return the product of the axes for `parametrize`; all cases but `few` of them are slow.

    A table that grows needs no list of representatives: the first case of a new value is a fast one by itself.
    """
    return only(_cases(axes), few(*axes))


def only(cases: Collection[Any], fast: Collection[Any]) -> list[Any]:
    """Return the cases, values or tuples of them, for `parametrize`; all that are not `fast` are slow."""
    assert fast, "a law needs a fast case"
    assert {*fast} <= {*cases}, f"no cases of this table: { ({*fast} - {*cases}) }"
    marked = ((case, () if case in fast else pytest.mark.slow) for case in cases)
    return [pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=marks) for case, marks in marked]


def few(*axes: Iterable[Any]) -> list[Case]:
    """Return as few cases as a greedy choice needs to show each value of each column, each about as often.

    Args:
        axes: Values, or tuples that are a column for each of their values.
    """
    seen: Counter[tuple[int, Any]] = Counter()
    chosen: list[Case] = []
    left = _cases(axes)
    while left:
        best = min(left, key=lambda case: _order(case, seen))
        if all(seen[value] for value in enumerate(best)):
            break
        chosen.append(best)
        seen.update(enumerate(best))
        left.remove(best)
    return chosen


def _order(case: Case, seen: Counter[tuple[int, Any]]) -> tuple[int, int]:
    """Return the place in the choice: most values that were not seen yet, then those that were seen least."""
    times = [seen[value] for value in enumerate(case)]
    return -times.count(0), sum(times)


def _cases(axes: Iterable[Iterable[Any]]) -> list[Case]:
    """Return the product of the axes, with the values of tuples in place of the tuples."""
    return [
        tuple(value for part in case for value in (part if isinstance(part, tuple) else (part,)))
        for case in product(*axes)
    ]
