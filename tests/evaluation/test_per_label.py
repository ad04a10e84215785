"""Scores of single labels: scikit-learn's, with intervals that leave out resamples without the label."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from crossflare.evaluation.metrics import NO_LABEL
from crossflare.evaluation.per_label import confusion, label_scores

GOLD = np.array([0, 0, 0, 0, 1, 1, 2, 2, 2, 2, 2, 2])
SAID = np.array([0, 0, 3, 2, 1, 0, 2, 2, 2, 2, 1, 3])
IDS = [str(number) for number in range(len(GOLD))]


def test_each_label_is_scored_as_scikit_learn_does() -> None:
    found = label_scores(IDS, GOLD, [SAID], 5, [1], resamples=200)
    wanted = precision_recall_fscore_support(GOLD, SAID, labels=[0, 1, 2], zero_division=0)
    for each, precision, recall, f1, support in zip(found, *wanted, strict=False):
        assert each.precision
        assert each.recall
        assert each.f1
        assert (each.precision.score, each.recall.score, each.f1.score) == pytest.approx((precision, recall, f1))
        assert each.support == support
        for interval in (each.precision, each.recall, each.f1):
            assert 0 <= interval.low <= interval.score <= interval.high <= 1
    never_there, nowhere = found[3:]
    assert never_there.recall is None
    assert never_there.precision is not None
    assert never_there.precision.score == 0
    assert (nowhere.support, nowhere.precision, nowhere.recall, nowhere.f1) == (0, None, None, None)


def test_a_label_of_one_row_has_an_interval_of_the_resamples_that_have_it() -> None:
    gold = np.array([1] + [0] * 11)
    found = label_scores(IDS, gold, [gold], 2, [1], resamples=300)[1]
    assert found.recall is not None
    assert (found.recall.low, found.recall.high) == (1.0, 1.0), "resamples without it would pull it down to 0"


def test_a_seed_that_never_gives_a_label_has_no_precision_of_it() -> None:
    other = np.zeros_like(SAID)
    found = label_scores(IDS, GOLD, [SAID, other], 4, [1, 2], resamples=200)[2]
    alone = label_scores(IDS, GOLD, [SAID], 4, [1], resamples=200)[2]
    assert found.precision == alone.precision
    assert found.recall is not None
    assert alone.recall is not None
    assert found.recall.score == pytest.approx(alone.recall.score / 2)


def test_who_was_taken_for_whom_is_the_mean_over_seeds() -> None:
    other = SAID.copy()
    other[0] = NO_LABEL
    counts = confusion(GOLD, [SAID, other], 4)
    first = confusion_matrix(GOLD, SAID, labels=range(4))
    assert counts[:, :4].sum() + counts[:, 4].sum() == len(GOLD)
    assert counts[1:, :4].tolist() == first[1:].tolist()
    assert (counts[0, 0], counts[0, 4]) == (first[0, 0] - 0.5, 0.5)
