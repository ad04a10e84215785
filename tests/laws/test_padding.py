"""What must not matter: padding of the source on either side and by any amount, and the other rows of the batch."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fusion_models import PAIRS, SHIFTING, Batch, batch, build, flare, logits, pad, rows

EXACT: dict[str, Any] = {"rtol": 0, "atol": 1e-12}

lengths = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), min_size=1, max_size=4)
"""(target, source) of each row; a source of 0 is missing."""

MODELS = {pair: flare(build("xlm-r"), fusion=pair[0], alignment=pair[1]) for pair in PAIRS}


def texts(drawn: list[tuple[int, int]]) -> tuple[list[list[int]], list[list[int]]]:
    return rows([target for target, _ in drawn], 1), rows([source for _, source in drawn], 2)


@given(lengths, st.sampled_from(PAIRS), st.sampled_from(["left", "right"]), st.integers(0, 7))
def test_source_padding(drawn: list[tuple[int, int]], pair: tuple[str, str], side: str, extra: int) -> None:
    targets, sources = texts(drawn)
    plain = logits(MODELS[pair], Batch(pad(targets), pad(sources)).both())
    padded = logits(MODELS[pair], Batch(pad(targets), pad(sources, side=side, extra=extra)).both())
    torch.testing.assert_close(padded, plain, **EXACT)


@given(lengths, st.sampled_from(PAIRS), st.integers(1, 7))
def test_target_padding(drawn: list[tuple[int, int]], pair: tuple[str, str], extra: int) -> None:
    targets, sources = texts(drawn)
    plain = logits(MODELS[pair], Batch(pad(targets), pad(sources)).both())
    padded = logits(MODELS[pair], Batch(pad(targets, extra=extra), pad(sources)).both())
    torch.testing.assert_close(padded, plain, **EXACT)


@given(lengths, st.sampled_from(PAIRS))
def test_each_row_alone_is_as_in_the_batch(drawn: list[tuple[int, int]], pair: tuple[str, str]) -> None:
    targets, sources = texts(drawn)
    together = logits(MODELS[pair], Batch(pad(targets), pad(sources)).both())
    for row in range(len(drawn)):
        alone = logits(MODELS[pair], Batch(pad([targets[row]]), pad([sources[row]])).both())
        torch.testing.assert_close(alone[0], together[row], **EXACT)


@given(lengths, st.sampled_from(PAIRS), st.randoms(use_true_random=False))
def test_the_order_of_the_rows(drawn: list[tuple[int, int]], pair: tuple[str, str], random: Any) -> None:
    targets, sources = texts(drawn)
    order = list(range(len(drawn)))
    random.shuffle(order)
    plain = logits(MODELS[pair], Batch(pad(targets), pad(sources)).both())
    mixed = Batch(pad([targets[row] for row in order]), pad([sources[row] for row in order]))
    torch.testing.assert_close(logits(MODELS[pair], mixed.both()), plain[order], **EXACT)


@pytest.mark.parametrize("family", SHIFTING)
@pytest.mark.parametrize("side", ["left", "right"])
def test_other_families_and_float32(family: str, side: str) -> None:
    plain, padded = batch([7, 4, 5], [5, 8, 0]), batch([7, 4, 5], [5, 8, 0], side=side, extra=5)
    exact = 1e-6 if family == "modernbert" else 1e-12  # its rotary angles are float32 whatever the model is
    for dtype, tolerance in ((torch.float64, exact), (torch.float32, 2e-5)):
        model = flare(build(family, dtype=dtype))
        expected = logits(model, plain.both())
        torch.testing.assert_close(logits(model, padded.both()), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_models_that_count_columns_need_padding_on_the_right(family: str) -> None:
    model, targets, sources = flare(build(family)), rows([7, 4], 1), rows([5, 8], 2)
    plain = logits(model, Batch(pad(targets), pad(sources)).both())
    padded = logits(model, Batch(pad(targets), pad(sources, extra=6)).both())
    torch.testing.assert_close(padded, plain, **EXACT)


@pytest.mark.parametrize("family", ["bert"])
def test_source_positions_reach_the_source_pass(family: str) -> None:
    model, plain, padded = flare(build(family)), batch([7, 4], [5, 8]), batch([7, 4], [5, 8], side="left", extra=2)
    mask = padded.source["attention_mask"]
    positions = {"source_position_ids": (mask.cumsum(1) - 1).clamp(min=0)}
    expected = logits(model, plain.both())
    torch.testing.assert_close(logits(model, padded.both() | positions), expected, **EXACT)
    assert (logits(model, padded.both()) - expected).abs().max() > 1e-3


@pytest.mark.parametrize("pair", PAIRS)
def test_an_unmasked_padding_token_does_matter(pair: tuple[str, str]) -> None:
    """The control: the same tensors with the mask opened over the padding give other results."""
    both = batch([7, 4, 5], [5, 8, 3], extra=1).both()
    expected = logits(MODELS[pair], both)
    opened = both | {"source_attention_mask": torch.ones_like(both["source_attention_mask"])}
    assert (logits(MODELS[pair], opened) - expected).abs().amax(1).min() > 1e-6


def test_the_sources_of_two_rows_are_not_interchangeable() -> None:
    """The control of row order: rows swapped on one side alone give other results."""
    targets, sources = rows([7, 4], 1), rows([5, 8], 2)
    for pair, model in MODELS.items():
        right = logits(model, Batch(pad(targets), pad(sources)).both())
        wrong = logits(model, Batch(pad(targets), pad(sources[::-1])).both())
        assert (right - wrong).abs().amax(1).min() > 1e-6, pair
