"""Laws of the choice between original and round-trip sources."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossflare.errors import UserError
from crossflare.translation.sources import SourceText, share

IDS = [f"row {number}" for number in range(2000)]


def chosen(text: str, seed: int = 0) -> list[bool]:
    return [SourceText.parse(text).machine_made(row, seed) for row in IDS]


def test_the_three_kinds() -> None:
    assert not any(chosen("original"))
    assert all(chosen("roundtrip"))
    assert all(chosen("mixed(1.0)"))
    assert not any(chosen("mixed(0)"))
    for p in (0.1, 0.5, 0.9):
        assert sum(chosen(f"mixed({p})")) / len(IDS) == pytest.approx(p, abs=0.04)


def test_the_id_and_the_seed_decide_alone() -> None:
    assert chosen("mixed(0.5)", 1) == chosen("mixed(0.5)", 1) != chosen("mixed(0.5)", 2)


@given(st.text(), st.integers(), st.floats(0, 1), st.floats(0, 1))
def test_more_of_the_mixture_keeps_what_was_mixed(row: str, seed: int, p: float, q: float) -> None:
    assert 0 <= share(row, seed) < 1
    if SourceText("mixed", min(p, q)).machine_made(row, seed):
        assert SourceText("mixed", max(p, q)).machine_made(row, seed)


@pytest.mark.parametrize("text", ["mixed", "mixed(", "mixed()", "mixed(a)", "machine", "mixed(0.5", "", "mixed(nan)"])
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"expected original, roundtrip or mixed|expected a share"):
        SourceText.parse(text)


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match=r"expected a share between 0 and 1, found 1\.5"):
        SourceText.parse("mixed(1.5)")
