"""Rare labels: what `balance` weighs, what it draws, and that a broken-off run draws the same again."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from crossflare.errors import UserError
from crossflare.tasks.example import Split
from crossflare.training.loop.balance import WEIGHTS, draw_balanced, label_weights, weighing
from crossflare.training.loop.batching import step_rows
from crossflare.training.loop.settings import Settings

some_labels = st.lists(st.sampled_from([0, 0, 0, 0, 1, 3]), min_size=1, max_size=60).map(np.array)


@given(some_labels)
def test_every_label_weighs_as_much_as_the_others(labels: np.ndarray) -> None:
    weights = label_weights(labels)
    sums = [weights[labels == label].sum() for label in np.unique(labels)]
    assert sums == pytest.approx([len(labels) / len(sums)] * len(sums))


@given(some_labels, st.integers(0, 5), st.integers(0, 5))
def test_an_epoch_has_every_label_equally_often_and_rows_as_their_weight_says(
    labels: np.ndarray, seed: int, epoch: int
) -> None:
    drawn = draw_balanced(labels, seed, epoch)
    counts = np.bincount(drawn, minlength=len(labels))
    assert len(drawn) == len(labels)
    assert drawn.tolist() == draw_balanced(labels, seed, epoch).tolist()
    assert (abs(counts - label_weights(labels)) < 1 + 1e-9).all()
    kinds = np.unique(labels)
    for label in kinds:
        assert abs((labels[drawn] == label).sum() - len(labels) / len(kinds)) <= 1


def test_rows_are_drawn_as_often_as_expected_over_many_epochs() -> None:
    labels = np.array([0] * 7 + [1] * 2 + [2])
    drawn = np.concatenate([draw_balanced(labels, 0, epoch) for epoch in range(3000)])
    assert np.bincount(drawn) / 3000 == pytest.approx(label_weights(labels), abs=0.05)


@pytest.mark.parametrize("first", [0, 3, 7, 11])
def test_steps_can_begin_anywhere(first: int) -> None:
    labels, sizes = np.array([0] * 20 + [1] * 6), np.arange(1, 27)
    settings = Settings(batch_size=4, seed=3, balance="sampling")
    whole = list(step_rows(sizes, settings, 1, 0, 14, labels))
    assert list(step_rows(sizes, settings, 1, first, 14, labels)) == whole[first:]
    assert len({row for step in whole for row in step if row >= 20}) == 6
    assert sum(row >= 20 for step in whole[:7] for row in step) == 13
    assert whole[:7] != whole[7:], "another epoch, another draw"


def test_items_of_several_rows_are_drawn_whole() -> None:
    labels, sizes = np.repeat([0, 0, 0, 0, 1], 3), np.arange(1, 16)
    settings = Settings(batch_size=6, seed=1, balance="sampling")
    for step in step_rows(sizes, settings, 3, 0, 3, labels):
        for begin in range(0, len(step), 3):
            assert step[begin] % 3 == 0
            assert step[begin : begin + 3] == list(range(step[begin], step[begin] + 3))


def test_the_loss_of_a_batch_weighs_its_rows(lab: Any, new_model: Any) -> None:
    form, model = lab.head_form(), new_model(dropout=0.0).eval()
    rows = list(form.encode(lab.make_split(5).examples))
    weights = np.array([0.5, 2.0, 1.0, 0.25, 3.0])
    batch = weighing(form.collate, weights)(rows[::-1])
    assert batch[WEIGHTS].tolist() == weights[::-1].tolist()
    plain = form.collate(rows[::-1])
    logits = model(**{name: each for name, each in plain.items() if name != "labels"}).logits
    each = functional.cross_entropy(logits, plain["labels"], reduction="none")
    expected = (each * torch.tensor(weights[::-1].copy())).mean()
    assert form.loss(model, batch).item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("balance", ["weights", "sampling"])
def test_a_run_that_was_broken_off_ends_with_the_same_bytes(lab: Any, tmp_path: Any, balance: Any) -> None:
    settings = Settings(epochs=2, batch_size=4, evaluations=2, lr=0.01, save_steps=1, balance=balance)
    labels = [0] * 30 + [1] * 10
    whole, _ = lab.run(tmp_path / "whole", settings, labels=labels)
    plain, _ = lab.run(tmp_path / "plain", Settings(epochs=2, batch_size=4, evaluations=2, lr=0.01), labels=labels)
    assert lab.weights_of(whole) != lab.weights_of(plain)
    with pytest.raises(lab.Stop):
        lab.run(tmp_path / "broken", settings, labels=labels, loss=lab.Stopping(14))
    again, _ = lab.run(tmp_path / "broken", settings, labels=labels)
    assert lab.weights_of(again) == lab.weights_of(whole)


def test_settings_by_default_have_the_fingerprint_that_older_checkpoints_have() -> None:
    assert "balance" not in Settings().deciding()
    assert Settings(balance="weights").deciding()["balance"] == "weights"


def test_rows_without_labels_are_refused(lab: Any, tmp_path: Any) -> None:
    with pytest.raises(UserError, match="balance: weights is for labels, and these rows have none"):
        lab.run(tmp_path, Settings(balance="weights"))
    with pytest.raises(UserError, match="balance"):
        Settings(balance="weight")  # type: ignore[arg-type]


def test_training_hands_the_labels_on(lab: Any, new_model: Any, tmp_path: Any) -> None:
    rows = lab.make_split(12)
    rare = Split("train", "sw", rows.examples[:9:2] + rows.examples[1:2])
    made = {}
    for balance in ("none", "weights", "sampling"):
        settings = Settings(epochs=1, batch_size=2, lr=0.01, balance=balance, evaluations=1, max_length=16)
        model = new_model()
        lab.teach(model, rare, None, settings, tmp_path / balance)
        made[balance] = lab.weights_of(model)
    assert len(set(made.values())) == 3
