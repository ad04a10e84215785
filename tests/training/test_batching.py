import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from crossflare.training.batching import GroupedSampler, grouped_order

lengths = st.lists(st.integers(1, 200), min_size=0, max_size=300).map(np.array)


def padding(order: list[int], sizes: np.ndarray, batch: int) -> float:
    """Return the share of the cells of all batches that hold no token."""
    groups = [sizes[order[i : i + batch]] for i in range(0, len(order), batch)]
    return 1 - sum(g.sum() for g in groups) / sum(len(g) * g.max() for g in groups)


@given(lengths, st.integers(1, 40), st.integers(0, 5), st.integers(0, 3))
def test_every_example_comes_once(sizes: np.ndarray, batch: int, seed: int, epoch: int) -> None:
    assert sorted(grouped_order(sizes.astype(int), batch, seed, epoch)) == list(range(len(sizes)))


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


def test_the_sampler_follows_its_epoch() -> None:
    sampler = GroupedSampler(np.arange(1, 50), 4, 0)
    first = list(sampler)
    sampler.set_epoch(1)
    assert list(sampler) != first
    sampler.set_epoch(0)
    assert list(sampler) == first
    assert len(sampler) == 49
