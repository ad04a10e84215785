import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from crossflare.errors import UserError
from crossflare.evaluation.metrics import METRICS, NO_LABEL, score, statistics, weigh

CLASSES = 4


@st.composite
def labelled(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Gold and predictions over some of the labels only, so that labels are absent from either or both."""
    size = draw(st.integers(1, 30))
    gold = draw(st.lists(st.sampled_from([0, 2, 3]), min_size=size, max_size=size))
    predicted = draw(st.lists(st.sampled_from([NO_LABEL, 0, 1, 3]), min_size=size, max_size=size))
    return np.array(gold), np.array(predicted)


def sklearn_scores(gold: np.ndarray, predicted: np.ndarray, weight: np.ndarray | None = None) -> dict[str, float]:
    labels = sorted({*gold.tolist(), *predicted.tolist()} - {NO_LABEL})  # its default, but for what is no label
    macro = f1_score(gold, predicted, labels=labels, average="macro", zero_division=0, sample_weight=weight)
    weighted = f1_score(gold, predicted, labels=labels, average="weighted", zero_division=0, sample_weight=weight)
    accuracy = accuracy_score(gold, predicted, sample_weight=weight)
    return {"accuracy": accuracy, "macro_f1": macro, "weighted_f1": weighted}


@given(labelled())
def test_scores_are_those_of_scikit_learn(data: tuple[np.ndarray, np.ndarray]) -> None:
    for name, expected in sklearn_scores(*data).items():
        assert score(name, *data, CLASSES) == pytest.approx(expected, abs=1e-12)


@given(labelled())
def test_the_rule_of_older_records_is_that_of_all_labels(data: tuple[np.ndarray, np.ndarray]) -> None:
    expected = f1_score(*data, labels=list(range(CLASSES)), average="macro", zero_division=0)
    assert score("macro_f1", *data, CLASSES, "all") == pytest.approx(expected, abs=1e-12)


@given(labelled(), st.integers(0, 2**32 - 1))
def test_weights_count_an_example_as_often_as_they_say(data: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    gold, predicted = data
    weights = np.random.default_rng(seed).multinomial(gold.size, np.full(gold.size, 1 / gold.size), size=3)
    drawn = weigh(statistics(gold, predicted, CLASSES), weights, CLASSES)
    for name, metric in METRICS.items():
        got = metric(drawn)
        assert got.shape == (3, 1)
        for row, weight in zip(got, weights, strict=True):
            repeated = np.repeat(gold, weight), np.repeat(predicted, weight)
            assert row.item() == pytest.approx(sklearn_scores(*repeated)[name], abs=1e-12)


def test_columns_are_scored_apart() -> None:
    gold = np.array([0, 1, 2, 3])
    columns = np.array([[0, 1, 2, 3], [0, 0, 0, 0], [1, 2, 3, 0]])
    drawn = weigh(statistics(gold, columns, CLASSES), np.ones((1, 4), dtype=int), CLASSES)
    assert METRICS["accuracy"](drawn).tolist() == [[1.0, 0.25, 0.0]]


GOLD = [0, 0, 0, 0, 1, 1, 2, 2, 2, 2, 2, 2]
SAID = [0, 0, 3, 2, 1, 0, 2, 2, 2, 2, 1, 3]
SKLEARN = "1.9.1"
GOLDEN = {"accuracy": 0.5833333333333334, "macro_f1": 0.4496753246753247, "weighted_f1": 0.6374458874458874}
"""What scikit-learn of that version says of GOLD and SAID, in which the label 3 is said and never there."""


@pytest.mark.parametrize("metric", GOLDEN)
def test_golden_numbers_of_scikit_learn(metric: str) -> None:
    assert score(metric, GOLD, SAID, 5) == pytest.approx(GOLDEN[metric], abs=1e-15), f"scikit-learn {SKLEARN}"


def test_weighted_f1_of_resamples_leaves_out_what_is_absent() -> None:
    drawn = weigh(statistics(GOLD, SAID, 5), np.array([[1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0]]), 5)
    without = score("weighted_f1", GOLD[:6], SAID[:6], 2 + 3)
    assert METRICS["weighted_f1"](drawn).item() == pytest.approx(without)
    assert score("weighted_f1", GOLD, GOLD, 9) == 1.0, "labels that are not there lower nothing"


def test_hand_worked_macro_f1() -> None:
    # label 0: 2*1/(2+1), label 1: 2*1/(1+2), label 2 met nowhere: left out, or 0
    assert score("macro_f1", [0, 0, 1], [0, 1, 1], 3) == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert score("macro_f1", [0, 0, 1], [0, 1, 1], 3, "all") == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)


@pytest.mark.parametrize(
    ("gold", "predicted", "words"),
    [
        ([0, 1], [0], "2 labels and 1 predictions"),
        ([], [], "at least one labelled example"),
        ([4], [0], "gold label from 0 to 3, got 4"),
        ([NO_LABEL], [0], "gold label from 0 to 3, got -1"),
        ([0], [-2], "prediction from -1 to 3, got -2"),
        ([0.0], [0], "got float64"),
    ],
)
def test_labels_that_do_not_fit_are_refused(gold: list[int], predicted: list[int], words: str) -> None:
    with pytest.raises(UserError, match=words):
        score("accuracy", np.array(gold, dtype=float if 0.0 in gold and isinstance(gold[0], float) else int),
              np.array(predicted, dtype=int), CLASSES)  # fmt: skip


def test_unknown_metric_names_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'macro_f1'"):
        score("macrof1", [0], [0], 2)
