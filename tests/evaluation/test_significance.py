import gc
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap, norm

from crossflare.disk.files import content_id
from crossflare.errors import UserError
from crossflare.evaluation.significance import (
    Sample,
    interval,
    macro,
    paired_difference,
    sample,
    sample_values,
)
from lanes import only


def ids(number: int, prefix: str = "") -> list[str]:
    return [f"{prefix}{index}" for index in range(number)]


def runs(number: int = 300, seeds: int = 3, right: float = 0.7, random: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Gold labels [N] and predictions [S, N] over three labels."""
    generator = np.random.default_rng(random)
    gold = generator.integers(3, size=number)
    hit = generator.random((seeds, number)) < right
    return gold, np.where(hit, gold, generator.integers(3, size=(seeds, number)))


def test_interval_agrees_with_scipy_for_one_seed() -> None:
    gold, predicted = runs(seeds=1)
    drawn = sample(ids(300), gold, predicted, 3, [1])
    ours = interval(drawn["accuracy"])
    hits = (predicted[0] == gold).astype(float)
    theirs = bootstrap((hits,), np.mean, n_resamples=10_000, method="percentile", rng=1, batch=500).confidence_interval
    assert ours.score == pytest.approx(hits.mean())
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.004)


def test_difference_agrees_with_scipy_paired() -> None:
    gold, predicted = runs(seeds=2)
    first, second = (sample(ids(300), gold, row, 3, [1])["accuracy"] for row in predicted)
    ours = paired_difference(first, second)
    hits = (predicted == gold).astype(float)
    theirs = bootstrap(
        tuple(hits), lambda a, b, axis: a.mean(axis) - b.mean(axis), n_resamples=10_000, method="percentile", rng=1,
        paired=True, vectorized=True, batch=500,
    ).confidence_interval  # fmt: skip
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.005)


@settings(max_examples=20)
@given(st.integers(1, 4), st.integers(2, 40), st.integers(0, 100))
def test_every_value_is_a_score_and_the_same_again(seeds: int, number: int, random: int) -> None:
    gold, predicted = runs(number, seeds, random=random)
    twice = [sample(ids(number), gold, predicted, 3, range(seeds), resamples=200, random_seed=random) for _ in "ab"]
    for name, drawn in twice[0].items():
        assert drawn.resampled.shape == (200, seeds)
        assert ((drawn.resampled >= 0) & (drawn.resampled <= 1)).all()
        assert interval(drawn) == interval(twice[1][name])
        assert interval(drawn).low <= interval(drawn).high


def test_another_random_seed_draws_another_resample() -> None:
    gold, predicted = runs()
    one, other = (sample(ids(300), gold, predicted, 3, [1, 2, 3], random_seed=seed)["accuracy"] for seed in (0, 1))
    assert (one.resampled != other.resampled).any()


def test_chunks_do_not_change_the_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    gold, predicted = runs()
    whole = sample(ids(300), gold, predicted, 3, [1, 2, 3], resamples=500)["macro_f1"]
    monkeypatch.setattr("crossflare.evaluation.significance._CHUNK", 7 * 300)
    assert np.array_equal(
        sample(ids(300), gold, predicted, 3, [1, 2, 3], resamples=500)["macro_f1"].resampled, whole.resampled
    )


def test_a_method_does_not_differ_from_itself() -> None:
    gold, predicted = runs()
    drawn = sample(ids(300), gold, predicted, 3, [1, 2, 3])["macro_f1"]
    same = paired_difference(drawn, drawn)
    assert (same.score, same.low, same.high, same.p) == (0, 0, 0, 1)
    assert not same.clear


def test_p_is_two_sided_and_small_just_when_the_interval_excludes_zero() -> None:
    generator = np.random.default_rng(3)
    for shift in (0.0, 0.5, 1.5, 1.9, 2.0, 2.5):
        a = Sample("x", (1,), np.array([shift]), shift + generator.normal(size=(20_000, 1)))
        b = Sample("x", (1,), np.zeros(1), np.zeros((20_000, 1)))
        found = paired_difference(a, b)
        assert found.p == pytest.approx(2 * norm.sf(shift), abs=0.015)
        assert found.clear == (found.p < 0.05)
        assert paired_difference(b, a).p == found.p


def test_pairing_narrows_the_interval() -> None:
    """Two methods that err on nearly the same examples: alone they are vague, their difference is not."""
    gold, predicted = runs(400, 1)
    other = predicted.copy()
    other[0, :12] = gold[:12]
    a, b = (sample(ids(400), gold, rows, 3, [1])["accuracy"] for rows in (other, predicted))
    paired, alone = paired_difference(a, b), interval(a)
    assert paired.high - paired.low < (alone.high - alone.low) / 3


def test_parallel_items_are_resampled_once_for_all_languages() -> None:
    """The same predictions in two parallel languages carry the information of one; in unlike ones, of two."""
    gold, predicted = runs(400, 1)
    parallel = [sample(ids(400), gold, predicted, 3, [1])["accuracy"] for _ in "ab"]
    apart = [sample(ids(400, prefix), gold, predicted, 3, [1])["accuracy"] for prefix in "ab"]
    assert np.array_equal(macro(parallel).resampled, parallel[0].resampled)
    width = [each.high - each.low for each in (interval(macro(parallel)), interval(macro(apart)))]
    assert width[1] / width[0] == pytest.approx(0.5**0.5, abs=0.05)


def test_seeds_that_disagree_widen_the_interval() -> None:
    gold = np.zeros(1000, dtype=int)
    predicted = np.zeros((3, 1000), dtype=int)
    predicted[0, :300] = 1
    drawn = sample(ids(1000), gold, predicted, 2, [1, 2, 3])["accuracy"]
    both, examples = interval(drawn), interval(macro([drawn.pick([1])]))
    assert both.high - both.low > 2 * (examples.high - examples.low)


def test_widened_seeds_have_the_variance_of_their_mean() -> None:
    """With no chance in the examples, the bootstrap variance is s^2 / S, not (S - 1) / S of it."""
    scores = np.array([0.4, 0.5, 0.9])
    constant = Sample("x", (1, 2, 3), scores, np.tile(scores, (20_000, 1)))
    from crossflare.evaluation.significance import resampled_means

    assert resampled_means(constant, 0).var() == pytest.approx(scores.var(ddof=1) / 3, rel=0.03)


def calls(number: int, resamples: int) -> int:
    """Return how many functions are called, ours and the libraries', for an interval over so many examples."""
    gold, predicted = runs(number)
    names, found = ids(number), 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal found
        found += event in ("call", "c_call")

    gc.disable()  # hypothesis is called at each collection
    sys.setprofile(count)
    try:
        interval(sample(names, gold, predicted, 3, [1, 2, 3], resamples=resamples)["macro_f1"])
    finally:
        sys.setprofile(None)
        gc.enable()
    return found


def test_resamples_are_scored_all_at_once() -> None:
    """No step of Python for each example or resample: five thousand examples by three seeds take about a second."""
    calls(10, 10)  # the first one imports
    assert calls(400, 2000) == calls(100, 100) < 1000


def test_what_cannot_be_paired_is_refused() -> None:
    gold, predicted = runs()
    a = sample(ids(300), gold, predicted, 3, [1, 2, 3], resamples=10)["accuracy"]
    other_items = sample(ids(300, "x"), gold, predicted, 3, [1, 2, 3], resamples=10)["accuracy"]
    other_gold = sample(ids(300), (gold + 1) % 3, predicted, 3, [1, 2, 3], resamples=10)["accuracy"]
    for b in (other_items, other_gold):
        with pytest.raises(UserError, match="measured on the same examples"):
            paired_difference(a, b)
    with pytest.raises(UserError, match=r"same seeds everywhere, got \[1, 2, 3\] and \[1, 2\]"):
        paired_difference(a, a.pick([1, 2]))
    with pytest.raises(UserError, match="same seeds everywhere"):
        macro([a, other_items.pick([2, 3])])


def test_repeated_ids_and_seeds_are_refused() -> None:
    gold, predicted = runs()
    with pytest.raises(UserError, match="example ids without repetition"):
        sample(["a"] * 300, gold, predicted, 3, [1, 2, 3])
    with pytest.raises(UserError, match="seeds without repetition"):
        sample(ids(300), gold, predicted, 3, [1, 1, 3])
    with pytest.raises(UserError, match="300 ids and 2 seeds"):
        sample(ids(300), gold, predicted, 3, [1, 2])


def answers(number: int = 60, seeds: int = 3, random: int = 0) -> tuple[list[list[str]], np.ndarray]:
    """Gold answers and scores [S, N] between 0 and 1."""
    return [[f"answer {index}"] for index in range(number)], np.random.default_rng(random).random((seeds, number))


@settings(max_examples=15)
@given(st.integers(1, 3), st.integers(1, 30), st.integers(0, 100))
def test_means_of_values_are_those_of_a_plain_loop(seeds: int, number: int, random: int) -> None:
    """The resamples are drawn here as the module documents them: a generator of the ids and the random seed."""
    golds, values = answers(number, seeds, random)
    drawn = sample_values(ids(number), golds, {"f1": values}, range(seeds), resamples=40, random_seed=random)["f1"]
    generator = np.random.default_rng([random, int(content_id(ids(number)), 16)])
    for resample in range(40):
        chosen = generator.integers(number, size=number)
        for seed in range(seeds):
            expected = sum(values[seed, index] for index in chosen) / number
            assert drawn.resampled[resample, seed] == pytest.approx(expected, abs=1e-12)
    assert drawn.observed == pytest.approx(values.mean(1))
    assert ((drawn.resampled >= 0) & (drawn.resampled <= 1)).all()


def test_values_meet_the_resamples_that_labels_meet() -> None:
    gold, predicted = runs(120)
    of_labels = sample(ids(120), gold, predicted, 3, [1, 2, 3], resamples=500)["accuracy"]
    hits = {"exact_match": predicted == gold}
    of_values = sample_values(ids(120), [["x"]] * 120, hits, [1, 2, 3], resamples=500)["exact_match"]
    assert of_values.resampled == pytest.approx(of_labels.resampled, abs=1e-12)
    assert of_values.observed == pytest.approx(of_labels.observed)


def test_perfect_values_are_exactly_one() -> None:
    drawn = sample_values(ids(7), [["x"]] * 7, {"f1": np.ones((2, 7))}, [1, 2], resamples=100)["f1"]
    assert (drawn.resampled == 1).all()


def test_parallel_questions_meet_the_same_resamples_and_others_do_not() -> None:
    golds, values = answers(400, 1)
    other = [[f"{gold[0]} otherwise"] for gold in golds]
    a, b = (sample_values(ids(400), each, {"f1": values}, [1])["f1"] for each in (golds, other))
    apart = sample_values(ids(400, "x"), golds, {"f1": values}, [1])["f1"]
    assert np.array_equal(a.resampled, b.resampled)
    assert not np.array_equal(a.resampled, apart.resampled)
    with pytest.raises(UserError, match="measured on the same examples"):
        paired_difference(a, b)  # the resamples are alike, the gold answers are not


def test_chunks_change_the_means_of_values_by_rounding_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    golds, values = answers()
    whole = sample_values(ids(60), golds, {"f1": values}, [1, 2, 3], resamples=300)["f1"]
    monkeypatch.setattr("crossflare.evaluation.significance._CHUNK", 7 * 60)
    parts = sample_values(ids(60), golds, {"f1": values}, [1, 2, 3], resamples=300)["f1"]
    assert parts.resampled == pytest.approx(whole.resampled, abs=1e-12)


def test_values_that_do_not_fit_are_refused() -> None:
    golds, values = answers()
    with pytest.raises(UserError, match="example ids without repetition"):
        sample_values(["a"] * 60, golds, {"f1": values}, [1, 2, 3])
    with pytest.raises(UserError, match="60 ids and 2 seeds"):
        sample_values(ids(60), golds, {"f1": values}, [1, 2])
    with pytest.raises(UserError, match="60 ids and 3 seeds"):
        sample_values(ids(60), golds, {"f1": values[:, 1:]}, [1, 2, 3])
    with pytest.raises(UserError, match="gold answers for each of 60 examples, got 59"):
        sample_values(ids(60), golds[1:], {"f1": values}, [1, 2, 3])
    with pytest.raises(UserError, match="expected f1 of every example as a number"):
        sample_values(ids(60), golds, {"f1": np.full((1, 60), np.nan)}, [1])
    with pytest.raises(UserError, match="at least one example"):
        sample_values([], [], {"f1": np.zeros((1, 0))}, [1])


@pytest.mark.parametrize("seed_spread", only([0.02, 0.1], [0.1]))
def test_the_interval_covers_the_truth_about_as_often_as_it_says(seed_spread: float) -> None:
    """Examples, seeds and their interplay each contribute; the true accuracy is known in closed form."""
    generator = np.random.default_rng(5)
    truth = norm.cdf(0.5 / np.sqrt(1 + seed_spread**2 + 0.25))
    covered = 0
    for round_ in range(400):
        ease = generator.normal(size=400) + seed_spread * generator.normal(size=(3, 1))
        right = 0.5 + ease + 0.5 * generator.normal(size=(3, 400)) > 0
        drawn = sample(ids(400), np.zeros(400, int), 1 - right, 2, [1, 2, 3], resamples=1000, random_seed=round_)
        found = interval(drawn["accuracy"], random_seed=round_)
        covered += found.low <= truth <= found.high
    assert 0.92 <= covered / 400 <= 0.99


@pytest.mark.slow  # as often as it says: the interval, above, is the same bootstrap
def test_the_paired_p_value_is_seldom_small_when_methods_are_equal() -> None:
    generator = np.random.default_rng(6)
    small = 0
    for round_ in range(400):
        ease = generator.normal(size=300)
        right = 0.5 + ease + 0.7 * generator.normal(size=(2, 3, 300)) > 0
        a, b = (
            sample(ids(300), np.zeros(300, int), 1 - rows, 2, [1, 2, 3], resamples=1000, random_seed=round_)["accuracy"]
            for rows in right
        )
        small += paired_difference(a, b).p < 0.05
    assert small / 400 <= 0.075
