from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, permutation_test

from crossflare.errors import UserError
from crossflare.evaluation.metrics import score
from crossflare.evaluation.paired import (
    Swapped,
    detectable,
    label_pair,
    mcnemar,
    swap,
    swap_mean,
    value_pair,
)


def ids(number: int, prefix: str = "") -> list[str]:
    return [f"{prefix}{index}" for index in range(number)]


def values_p(a: object, b: object, **options: int) -> Swapped:
    rows = np.atleast_2d(np.asarray(a, dtype=float))
    return swap("ace", ids(rows.shape[1]), {"x": value_pair(rows, np.atleast_2d(b))}, **options)["x"]


def labels(number: int, seeds: int, random: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gold labels [N] and two methods' labels [S, N], of three, -1 for none of them."""
    generator = np.random.default_rng(random)
    gold = generator.integers(3, size=number)
    a, b = (
        np.where(generator.random((seeds, number)) < right, gold, generator.integers(-1, 3, size=(seeds, number)))
        for right in (0.7, 0.5)
    )
    return gold, a, b


def slow_exact(metric: str, gold: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """Every swap there is, by copying labels and scoring them anew."""
    found: list[float] = []
    for swaps in product([False, True], repeat=gold.size):
        first, second = np.where(swaps, b, a), np.where(swaps, a, b)
        pairs = zip(first, second, strict=True)
        found.append(float(np.mean([score(metric, gold, x, 3) - score(metric, gold, y, 3) for x, y in pairs])))
    return float(np.mean(np.abs(found) >= abs(found[0]) - 1e-9))


def test_exact_p_of_values_is_mlxtend_s() -> None:
    """mlxtend 0.25.0: permutation_test(a, b, paired=True, method="exact")."""
    a = [0.9, 0.75, 1.0, 0.4, 0.6, 0.33, 1.0, 0.8, 0.55, 0.7]
    b = [0.7, 0.8, 0.5, 0.4, 0.2, 0.3, 0.9, 0.85, 0.25, 0.6]
    assert values_p(a, b).p == pytest.approx(0.03515625, abs=1e-12)


def test_exact_p_of_labels_is_mlxtend_s() -> None:
    """mlxtend 0.25.0, on right and wrong as ones and zeros."""
    right = [[1, 1, 1, 0, 1, 1, 0, 1, 1, 1, 0, 1], [0, 1, 0, 0, 1, 0, 1, 0, 0, 1, 0, 0]]
    pair = label_pair([1] * 12, [right[0]], [right[1]], 2, "accuracy")
    assert swap("ace", ids(12), {"x": pair})["x"].p == pytest.approx(0.125, abs=1e-12)


def test_mcnemar_is_statsmodels_s() -> None:
    """statsmodels 0.15.0: contingency_tables.mcnemar(exact=True) of [[50, 21], [9, 20]] and [[50, 5], [0, 20]]."""
    for table, expected in (((50, 21, 9, 20), 0.042773945257067694), ((50, 5, 0, 20), 0.0625)):
        cells = np.repeat([0, 1, 2, 3], table)
        assert mcnemar(np.ones(cells.size), cells < 2, cells % 2 == 0) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("a", "b", "expected"), [([1, 1, 1, 1, 0], [0, 0, 0, 0, 0], 0.125), ([0, 1], [0, 1], 1.0)])
def test_mcnemar_is_the_binomial_test_of_the_unequal_pairs(a: list[int], b: list[int], expected: float) -> None:
    assert mcnemar([1] * len(a), a, b) == pytest.approx(expected)


@given(st.integers(2, 30), st.integers(0, 1000))
def test_the_permutation_of_one_seed_s_accuracy_is_mcnemar_s_test(number: int, random: int) -> None:
    gold, a, b = labels(number, 1, random)
    found = swap("ace", ids(number), {"x": label_pair(gold, a, b, 3, "accuracy")}, resamples=2**12)["x"]
    if found.exact is not None:
        assert found.p == pytest.approx(mcnemar(gold, a[0], b[0]))


@settings(max_examples=10)
@given(st.integers(1, 7), st.integers(1, 3), st.integers(0, 1000), st.sampled_from(["accuracy", "macro_f1"]))
def test_exact_p_is_that_of_labels_swapped_and_scored_anew(number: int, seeds: int, random: int, metric: str) -> None:
    gold, a, b = labels(number, seeds, random)
    found = swap("ace", ids(number), {"x": label_pair(gold, a, b, 3, metric)})["x"]
    assert found.exact == pytest.approx(slow_exact(metric, gold, a, b), abs=1e-12)


def test_sampled_p_agrees_with_scipy() -> None:
    generator = np.random.default_rng(2)
    a, b = generator.random((2, 60))
    b -= 0.03
    theirs = permutation_test(
        (a - b,), lambda x, axis: x.mean(axis), permutation_type="samples", vectorized=True, n_resamples=20_000, rng=1
    ).pvalue
    assert 0.01 < theirs < 0.5
    assert values_p(a, b, resamples=20_000).p == pytest.approx(theirs, abs=0.015)


def test_sampled_p_of_macro_f1_over_seeds_agrees_with_swapped_labels() -> None:
    gold, a, b = labels(40, 2, 4)
    found = swap("ace", ids(40), {"x": label_pair(gold, a, b, 3, "macro_f1")}, resamples=4000)["x"]
    generator, drawn = np.random.default_rng(0), []
    for _ in range(1500):
        swaps = generator.random(40) < 0.5
        pairs = zip(np.where(swaps, b, a), np.where(swaps, a, b), strict=True)
        drawn.append(np.mean([score("macro_f1", gold, x, 3) - score("macro_f1", gold, y, 3) for x, y in pairs]))
    slow = float(np.mean(np.abs(drawn) >= abs(found.observed)))
    assert found.exact is None
    assert found.p == pytest.approx(slow, abs=0.04)


def test_p_is_the_same_from_either_side_and_one_for_equal_methods() -> None:
    generator = np.random.default_rng(3)
    a, b = generator.random((2, 3, 50))
    assert values_p(a, b).p == values_p(b, a).p
    assert values_p(a, a).p == 1
    assert values_p(a + 10, a).p == pytest.approx(1 / 10_001)


def test_small_p_values_are_as_rare_as_they_say() -> None:
    generator = np.random.default_rng(4)
    found = [values_p(*generator.random((2, 40)), resamples=400).p for _ in range(400)]
    assert 0.02 <= np.mean(np.array(found) < 0.05) <= 0.085


def test_parallel_languages_are_swapped_once_and_others_apart() -> None:
    a, b = np.random.default_rng(5).random((2, 1, 80))
    pair = {"x": value_pair(a, b)}
    ace, ban = (swap(name, ids(80), pair)["x"] for name in ("ace", "ban"))
    apart = swap("min", ids(80, "m"), pair)["x"]
    assert np.array_equal(swap_mean([ace, ban]).swapped, ace.swapped)
    assert swap_mean([ace, ban]).p == ace.p, "the same answers twice are no more evidence than once"
    assert not np.array_equal(apart.swapped, ace.swapped)
    assert np.std(swap_mean([ace, apart]).swapped) == pytest.approx(np.std(ace.swapped) * 0.5**0.5, rel=0.05)


def test_languages_that_share_some_items_are_refused_in_one_test() -> None:
    a, b = np.random.default_rng(6).random((2, 1, 20))
    pair = {"x": value_pair(a, b)}
    ace = swap("ace", ids(20), pair)["x"]
    ban = swap("ban", [*ids(15), *ids(5, "other")], pair)["x"]
    with pytest.raises(UserError, match=r"ace and ban with the same test items .* got 15 shared of 20 and 20"):
        swap_mean([ace, ban])


def test_other_pairs_do_not_change_a_pair() -> None:
    generator = np.random.default_rng(7)
    a, b, c = generator.random((3, 2, 50))
    alone = swap("ace", ids(50), {"b": value_pair(a, b)})["b"]
    among = swap("ace", ids(50), {"c": value_pair(a, c), "b": value_pair(a, b)})["b"]
    assert np.array_equal(alone.swapped, among.swapped)


def test_chunks_do_not_change_the_p(monkeypatch: pytest.MonkeyPatch) -> None:
    gold, a, b = labels(60, 2, 8)
    pair = {"x": label_pair(gold, a, b, 3, "macro_f1")}
    whole = swap("ace", ids(60), pair, resamples=500)["x"]
    monkeypatch.setattr("crossflare.evaluation.paired._CHUNK", 60 * 64)
    parts = swap("ace", ids(60), pair, resamples=500)["x"]
    assert parts.swapped.shape == whole.swapped.shape
    assert parts.p == pytest.approx(whole.p, abs=0.06)


def test_what_is_not_paired_or_no_number_is_refused() -> None:
    with pytest.raises(UserError, match="answers to the 3 test items of ace, got 3 and 2 from 1 and 1 seeds"):
        swap("ace", ids(3), {"x": value_pair([[1, 0, 1]], [[1, 0]])})
    with pytest.raises(UserError, match="from 2 and 1 seeds"):
        swap("ace", ids(2), {"x": value_pair([[1, 0], [1, 0]], [[1, 0]])})
    with pytest.raises(UserError, match="every test item of ace, got one that is no number"):
        swap("ace", ids(2), {"x": value_pair([[1.0, float("nan")]], [[1.0, 0.0]])})


@pytest.mark.parametrize(
    ("psi", "delta", "number"),
    [(0.2, 0.05, 625.5473178337218), (0.35, 0.1, 272.340963225909), (0.08, 0.02, 1567.416006157457)],
)
def test_the_detectable_difference_is_that_of_statsmodels_sample_size(psi: float, delta: float, number: float) -> None:
    """statsmodels 0.15.0: power.normal_sample_size_one_tail(delta, 0.8, 0.025, psi ** .5, (psi - delta ** 2) ** .5)."""
    differences = np.zeros(round(number))
    differences[: round(psi * number)] = 1
    assert detectable(differences) == pytest.approx(delta, rel=0.01)


def test_a_detectable_difference_is_found_about_eight_times_in_ten() -> None:
    generator = np.random.default_rng(9)
    number, psi = 400, 0.3
    delta = detectable(np.repeat([1.0, -1.0, 0.0], [70, 50, 280]))
    assert delta is not None
    found = 0
    for _ in range(2000):
        only_a, only_b, _ = generator.multinomial(number, [(psi + delta) / 2, (psi - delta) / 2, 1 - psi])
        found += 2 * norm.sf(abs(only_a - only_b) / np.sqrt(only_a + only_b)) < 0.05
    assert 0.76 <= found / 2000 <= 0.84


def test_what_never_differs_or_is_too_little_has_no_detectable_difference() -> None:
    assert detectable(np.zeros(100)) is None
    assert detectable([1.0, -1.0, 0.0]) is None
