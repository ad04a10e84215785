"""Laws of the choice between original and round-trip sources."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossflare.errors import UserError
from crossflare.recipe.translation import gets_round_trip, mixed_share

IDS = [f"row {number}" for number in range(2000)]


def chosen(text: str, seed: int = 0) -> list[bool]:
    return [gets_round_trip(row, seed, mixed_share(text)) for row in IDS]


def test_the_share_of_the_rows_is_the_number_of_the_recipe() -> None:
    assert all(chosen("mixed(1.0)"))
    assert not any(chosen("mixed(0)"))
    for p in (0.1, 0.5, 0.9):
        assert sum(chosen(f"mixed({p})")) / len(IDS) == pytest.approx(p, abs=0.04)


def test_the_id_and_the_seed_decide_alone() -> None:
    assert chosen("mixed(0.5)", 1) == chosen("mixed(0.5)", 1) != chosen("mixed(0.5)", 2)


@given(st.text(), st.integers(), st.floats(0, 1), st.floats(0, 1))
def test_more_of_the_mixture_keeps_what_was_mixed(row: str, seed: int, p: float, q: float) -> None:
    assert not gets_round_trip(row, seed, 0.0)
    assert gets_round_trip(row, seed, 1.0)
    assert gets_round_trip(row, seed, min(p, q)) <= gets_round_trip(row, seed, max(p, q))


@pytest.mark.parametrize(
    "text",
    ["mixed", "mixed(", "mixed()", "mixed(a)", "machine", "mixed(0.5", "", "mixed(nan)", "mixed(1.5)", "mixed(-1)"],
)
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"expected mixed\(p\) with p from 0 to 1, got"):
        mixed_share(text)
