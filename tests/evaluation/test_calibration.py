"""Temperatures, calibration errors and thresholds: laws, and models whose probabilities are known to be true."""

import math

import numpy as np
import pytest

from crossflare.errors import UserError
from crossflare.evaluation.calibration import (
    COLDEST,
    accuracy_by_coverage,
    calibration_from,
    confidence,
    fit_calibration,
    sample_errors,
    tempered,
)
from crossflare.evaluation.significance import interval


def drawn(number: int, heat: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return what a model says that is too sure by `heat`, and labels drawn from the true probabilities."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(number, 3)) * 1.5
    true = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
    gold = (true.cumsum(1) < random.random((number, 1))).sum(1)
    return tempered(logits * heat, 1.0), gold


@pytest.mark.parametrize("heat", [0.5, 1.0, 2.5])
def test_the_temperature_is_how_much_too_sure_a_model_is(heat: float) -> None:
    said, gold = drawn(20_000, heat)
    assert fit_calibration(said, gold).temperature == pytest.approx(heat, rel=0.05)


def test_no_other_temperature_has_a_lower_log_loss() -> None:
    said, gold = drawn(300, 1.7)
    found = fit_calibration(said, gold).temperature

    def loss(heat: float) -> float:
        return -tempered(said, heat)[np.arange(300), gold].mean()

    assert loss(found) < min(loss(found * 1.01), loss(found / 1.01))


def test_dev_rows_that_are_all_right_keep_the_temperature_within_its_bounds() -> None:
    said, _ = drawn(50, 1.0)
    found = fit_calibration(said, said.argmax(1))
    assert COLDEST <= found.temperature < COLDEST * 1.01
    assert np.isfinite(tempered(said, found.temperature)).all()


def test_a_temperature_changes_no_label() -> None:
    said, _ = drawn(200, 1.0)
    assert (tempered(said, 3.0).argmax(1) == said.argmax(1)).all()
    assert np.exp(tempered(said, 3.0)).sum(1) == pytest.approx(1)


def errors(said: np.ndarray, gold: np.ndarray) -> float:
    right = said.argmax(1) == gold
    ids = [str(number) for number in range(len(gold))]
    found = interval(sample_errors(ids, gold, confidence(said)[None], right[None], [0]))
    assert 0 <= found.low <= found.score <= found.high, "few rows have more error in a resample than as they are"
    return found.score


def test_the_error_is_small_where_probabilities_are_true_and_falls_with_the_temperature() -> None:
    said, gold = drawn(6000, 3.0)
    assert errors(said, gold) > 0.15
    assert errors(tempered(said, fit_calibration(said, gold).temperature), gold) < 0.03


def test_few_rows_have_an_interval_about_the_error() -> None:
    errors(*drawn(60, 1.0))


def test_the_error_by_hand() -> None:
    """15 rows are 15 bins: the mean distance of each row's confidence from whether it is right."""
    sure = np.linspace(0.5, 0.98, 15)
    right = np.arange(15) % 2 == 0
    found = sample_errors([str(n) for n in range(15)], np.zeros(15, int), sure[None], right[None], [0])
    assert found.observed[0] == pytest.approx(abs(sure - right).mean())
    both = sample_errors(["a", "b"] * 1 + ["c"], np.zeros(3, int), np.full((1, 3), 0.7), np.array([[1, 1, 0]]) > 0, [0])
    assert both.observed[0] == pytest.approx((0.3 + 0.3 + 0.7) / 3)


@pytest.mark.parametrize("coverage", [0.01, 0.2, 0.55, 0.8, 1.0])
def test_a_threshold_answers_the_share_of_rows_that_is_asked_for(coverage: float) -> None:
    said, gold = drawn(400, 1.3)
    found = fit_calibration(said, gold)
    sure = confidence(tempered(said, found.temperature))
    assert (sure >= found.threshold(coverage)).sum() == math.ceil(round(coverage * 400, 6))
    assert found.threshold(1.0) == 0.0


def test_what_is_no_share_is_refused() -> None:
    said, gold = drawn(40, 1.0)
    for coverage in (0.0, -0.1, 1.01, math.nan):
        with pytest.raises(UserError, match="coverage: expected a share of the rows above 0 and at most 1"):
            fit_calibration(said, gold).threshold(coverage)


def test_accuracy_by_coverage_is_of_the_surest_rows() -> None:
    sure, right = np.array([0.9, 0.6, 0.8, 0.7]), np.array([True, False, True, True])
    assert accuracy_by_coverage(sure, right, [0.25, 0.5, 0.75, 1.0]) == [1.0, 1.0, 1.0, 0.75]


@pytest.mark.parametrize(
    "value",
    [None, {}, {"temperature": 1.0, "thresholds": [0.0] * 5, "rows": 3}, {"temperature": 0, "thresholds": [0.0] * 101,
     "rows": 3}, {"temperature": 1.0, "thresholds": ["x"] * 101, "rows": 3}, {"temperature": True, "thresholds":
     [0.0] * 101, "rows": 3}, {"temperature": math.nan, "thresholds": [0.0] * 101, "rows": 3}],
)  # fmt: skip
def test_a_strange_card_is_refused(value: object) -> None:
    with pytest.raises(UserError, match="card: expected a temperature, 101 thresholds"):
        calibration_from(value, "card")
