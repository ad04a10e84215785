import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossflare.errors import UserError
from crossflare.training.loop.batching import check_groups, grouped_order, step_rows
from crossflare.training.loop.settings import Settings

lengths = st.lists(st.integers(1, 200), min_size=0, max_size=300).map(np.array)


def padding(order: list[int], sizes: np.ndarray, batch: int) -> float:
    """Return the share of the cells of all batches that hold no token."""
    groups = [sizes[order[i : i + batch]] for i in range(0, len(order), batch)]
    return 1 - sum(g.sum() for g in groups) / sum(len(g) * g.max() for g in groups)


@given(lengths, st.integers(1, 40), st.integers(0, 5), st.integers(0, 3))
def test_every_example_comes_once(sizes: np.ndarray, batch: int, seed: int, epoch: int) -> None:
    assert sorted(grouped_order(sizes.astype(int), batch, seed, epoch)) == list(range(len(sizes)))


def test_the_order_without_groups_is_that_of_earlier_versions() -> None:
    """Results that were published with a seed can be made again."""
    sizes = np.array([5, 9, 2, 7, 3, 8, 4, 6, 1, 10, 12, 11, 14])
    assert grouped_order(sizes, 4, 7, 0) == [1, 9, 10, 12, 8, 2, 4, 6, 0, 7, 3, 5, 11]
    assert grouped_order(sizes, 4, 7, 1) == [8, 2, 4, 6, 0, 7, 3, 1, 9, 11, 10, 12, 5]


@given(lengths, st.integers(1, 12), st.integers(1, 5), st.integers(0, 3))
def test_the_rows_of_an_item_stay_together_and_all_come_once(
    sizes: np.ndarray, items: int, group: int, epoch: int
) -> None:
    sizes = sizes[: len(sizes) - len(sizes) % group].astype(int)
    order = grouped_order(sizes, items * group, 0, epoch, group)
    assert sorted(order) == list(range(len(sizes)))
    for begin in range(0, len(order), group):
        assert order[begin] % group == 0
        assert order[begin : begin + group] == list(range(order[begin], order[begin] + group))


def test_items_are_sorted_by_their_longest_row() -> None:
    sizes = np.random.default_rng(0).integers(1, 100, 3000)
    longest = sizes.reshape(-1, 3).max(axis=1)
    order = grouped_order(sizes, 24, 0, 1, 3)
    assert [row // 3 for row in order[::3]] == grouped_order(longest, 8, 0, 1)


def test_batches_that_would_split_an_item_are_refused() -> None:
    check_groups(40, 32, 4)
    with pytest.raises(UserError, match=r"multiple of 5, .*got 32; take 30 or 35$"):
        check_groups(40, 32, 5)
    with pytest.raises(UserError, match=r"multiple of 5, .*got 3; take 5$"):
        check_groups(40, 3, 5)
    with pytest.raises(UserError, match="items of 4 rows each, got 42 rows"):
        check_groups(42, 32, 4)


def test_order_depends_on_seed_and_epoch_alone() -> None:
    sizes = np.arange(1, 500) % 37 + 1
    np.random.seed(1)
    first = grouped_order(sizes, 8, 3, 2)
    np.random.seed(2)
    assert first == grouped_order(sizes, 8, 3, 2)
    assert first != grouped_order(sizes, 8, 3, 1)
    assert first != grouped_order(sizes, 8, 4, 2)


def test_less_padding_than_in_random_order() -> None:
    random = np.random.default_rng(0)
    sizes = np.clip(random.lognormal(3.4, 0.5, 4000), 6, 128).astype(int)
    ours = padding(grouped_order(sizes, 32, 0, 1), sizes, 32)
    assert ours < 0.1 < padding(random.permutation(4000).tolist(), sizes, 32)


def test_batches_do_not_come_by_length() -> None:
    sizes = np.arange(1, 3201)
    firsts = sizes[grouped_order(sizes, 32, 0, 1)][::32]
    assert abs(np.corrcoef(firsts, np.arange(len(firsts)))[0, 1]) < 0.4


def test_the_widest_batch_comes_first_once_and_the_short_one_last() -> None:
    sizes = np.arange(1, 103)
    first = grouped_order(sizes, 10, 0, 0)
    assert max(sizes[first[:10]]) == max(sizes[i] for i in first[:100])
    assert len(first[100:]) == 2


@pytest.mark.parametrize("first", [0, 5, 7, 8, 20])
def test_the_steps_go_through_the_epochs_and_can_begin_anywhere(first: int) -> None:
    """49 rows in batches of 4, two to a step: seven steps an epoch, of which the last has one row."""
    sizes, settings = np.arange(1, 50), Settings(batch_size=4, accumulation=2)
    whole = list(step_rows(sizes, settings, 1, 0, 21))
    for epoch in range(3):
        steps = whole[7 * epoch : 7 * epoch + 7]
        assert [row for step in steps for row in step] == grouped_order(sizes, 4, 0, epoch)
        assert [len(step) for step in steps] == [8] * 6 + [1]
    assert len(whole) == 21
    assert list(step_rows(sizes, settings, 1, first, 21)) == whole[first:]
