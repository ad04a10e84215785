import numpy as np
import pytest
from scipy.stats import rankdata

from crossflare.errors import UserError
from crossflare.evaluation.significance import Sample, average_ranks, sample_values


def samples(scores: np.ndarray, seeds: int = 2) -> dict[str, list[Sample]]:
    """Samples of methods by languages from values [M, L, S, N]."""
    ids = [str(index) for index in range(scores.shape[-1])]
    return {
        f"m{place}": [
            sample_values(ids, [["x"]] * len(ids), {"f1": each}, range(seeds), resamples=300)["f1"] for each in method
        ]
        for place, method in enumerate(scores)
    }


def test_ranks_are_the_mean_over_languages_of_each_language_s_ranks() -> None:
    scores = np.random.default_rng(0).random((4, 3, 2, 50))
    found = average_ranks(samples(scores))
    expected = np.mean([rankdata(-column) for column in scores.mean((2, 3)).T], axis=0)
    assert [each.score for each in found.values()] == pytest.approx(expected)
    assert sum(each.score for each in found.values()) == pytest.approx(10)


def test_a_method_that_is_always_best_has_rank_one_without_doubt() -> None:
    scores = np.random.default_rng(1).random((3, 2, 2, 40))
    scores[2] += 5
    best = average_ranks(samples(scores))["m2"]
    assert (best.score, best.low, best.high) == (1, 1, 1)


def test_equal_methods_share_a_rank() -> None:
    scores = np.random.default_rng(2).random((3, 2, 2, 40))
    scores[1] = scores[0]
    found = average_ranks(samples(scores))
    assert found["m0"] == found["m1"]


def test_close_methods_have_wide_intervals_and_far_ones_narrow() -> None:
    generator = np.random.default_rng(3)
    close = generator.random((3, 2, 2, 40))
    far = close + np.array([0, 1, 2])[:, None, None, None]
    width = [np.mean([x.high - x.low for x in average_ranks(samples(each)).values()]) for each in (close, far)]
    assert width[1] == 0 < width[0]


def test_methods_on_unlike_examples_or_seeds_have_no_ranks() -> None:
    scores = np.random.default_rng(4).random((2, 2, 2, 40))
    found = samples(scores)
    found["m1"] = [each.pick([0]) for each in found["m1"]]
    with pytest.raises(UserError, match="same examples with the same seeds to rank them"):
        average_ranks(found)
