"""Pairings against loops, for masks of every shape, holes included."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from crossflare.fusion.alignment import Pairing, attention, pair_nothing, position, proportional, real_first
from reference.slow_flare import by_similarity, partner

Mask = list[bool]


@st.composite
def masks(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw a target mask [B,T] and a source mask [B,S] with any pattern of real tokens."""
    rows, target, source = draw(st.integers(1, 4)), draw(st.integers(1, 9)), draw(st.integers(1, 9))
    pattern = st.lists(st.booleans(), min_size=rows * (target + source), max_size=rows * (target + source))
    bits = torch.tensor(draw(pattern))
    return bits[: rows * target].view(rows, target), bits[rows * target :].view(rows, source)


@given(masks())
def test_real_columns_come_first_in_order(drawn: tuple[torch.Tensor, torch.Tensor]) -> None:
    mask, _ = drawn
    assert torch.equal(real_first(mask), (~mask).to(torch.int8).argsort(dim=1, stable=True))


def columns(mask: torch.Tensor) -> list[int]:
    return [column for column, real in enumerate(mask.tolist()) if real]


def pairs(pairing: Pairing, row: int) -> dict[int, int]:
    assert pairing.index is not None
    return {column: int(pairing.index[row, column]) for column in columns(pairing.paired[row])}


def slow(alignment: str, target: torch.Tensor, source: torch.Tensor) -> dict[int, int]:
    mine, theirs = columns(target), columns(source)
    found = {column: partner(alignment, j, len(mine), len(theirs)) for j, column in enumerate(mine)}
    return {column: theirs[k] for column, k in found.items() if k is not None}


@given(masks())
def test_position_counts_from_the_first_real_token(drawn: tuple[torch.Tensor, torch.Tensor]) -> None:
    target, source = drawn
    found = position(target, source, "start")
    for row in range(len(target)):
        assert pairs(found, row) == slow("position", target[row], source[row])


@given(masks())
def test_position_from_the_end_is_position_of_the_reversed_masks(drawn: tuple[torch.Tensor, torch.Tensor]) -> None:
    target, source = drawn
    found, back = position(target, source, "end"), position(target.flip(1), source.flip(1), "start")
    last, end = target.shape[1] - 1, source.shape[1] - 1
    for row in range(len(target)):
        assert pairs(found, row) == {last - t: end - s for t, s in pairs(back, row).items()}


@given(masks())
def test_proportional_rounds_halves_up_and_stays_inside(drawn: tuple[torch.Tensor, torch.Tensor]) -> None:
    target, source = drawn
    found = proportional(target, source)
    for row in range(len(target)):
        assert pairs(found, row) == slow("proportional", target[row], source[row])


def test_proportional_by_hand() -> None:
    ones = torch.ones(1, 6, dtype=torch.bool)
    assert list(pairs(proportional(ones[:, :4], ones[:, :2]), 0).values()) == [0, 1, 1, 1]  # 0, .5, 1, 1.5
    assert list(pairs(proportional(ones[:, :2], ones[:, :5]), 0).values()) == [0, 3]  # 0, 2.5
    assert list(pairs(proportional(ones, ones), 0).values()) == [0, 1, 2, 3, 4, 5]


@given(masks(), st.integers(0, 9))
def test_attention_is_a_distribution_over_the_real_source_tokens(
    drawn: tuple[torch.Tensor, torch.Tensor], seed: int
) -> None:
    target, source = drawn
    generator = torch.Generator().manual_seed(seed)
    x, v = (torch.randn(*mask.shape, 3, dtype=torch.float64, generator=generator) for mask in (target, source))
    found = attention(target, source, x, v)
    assert found.weights is not None
    for row in range(len(target)):
        real = columns(source[row])
        assert columns(found.paired[row]) == (columns(target[row]) if real else [])
        for column in columns(found.paired[row]):
            expected = torch.zeros(source.shape[1], dtype=torch.float64)
            expected[real] = torch.stack(by_similarity(x[row, column], v[row, real]))
            torch.testing.assert_close(found.weights[row, column], expected, rtol=0, atol=1e-12)


@given(masks())
def test_whole_pairs_every_target_token_of_a_row_with_a_source(drawn: tuple[torch.Tensor, torch.Tensor]) -> None:
    target, source = drawn
    found = pair_nothing(target, source)
    for row in range(len(target)):
        assert columns(found.paired[row]) == (columns(target[row]) if columns(source[row]) else [])


def test_what_is_carried_is_the_partner_or_the_missing_value() -> None:
    target, source = (
        torch.tensor([[True, True, True], [True, True, False]]),
        torch.tensor([[False, True], [False, False]]),
    )
    states = torch.arange(4.0).view(2, 2, 1)
    carried = position(target, source, "start").carry(states, -7.0)
    assert carried[..., 0].tolist() == [[1, -7, -7], [-7, -7, -7]]
