"""Wrong calls of a model: refused before any work, in one line; and what is refused of peft's own functions."""

from typing import Any

import pytest
import torch
from torch import Tensor

import crossflare
from crossflare.errors import UserError
from fusion_models import batch, build, calls, flare, logits


def tokens(rows: int, columns: int) -> Tensor:
    return torch.full((rows, columns), 5)


TEXT, LATENTS = flare(build("bert")), flare(build("bert"), mt_dim=5)
TARGET = batch([4, 3], [3, 2]).target
CALLS: list[tuple[Any, dict[str, Any], str]] = [
    (
        TEXT,
        {"source_input_ids": tokens(3, 4)},
        "3 source rows for 2 target rows; give a row of zeros where there is no",
    ),
    (LATENTS, {"source_latents": torch.ones(1, 4, 5).double()}, "1 source rows for 2 target rows"),
    (
        TEXT,
        {"source_latents": torch.ones(2, 4, 5).double()},
        "this adapter fuses with source_input_ids (text); got latents",
    ),
    (LATENTS, {"source_input_ids": tokens(2, 4)}, "this adapter fuses with source_latents (size 5); got text"),
    (
        LATENTS,
        {"source_latents": torch.ones(2, 4, 6).double()},
        "source_latents have size 6, the adapter was made for mt_dim=5",
    ),
    (
        TEXT,
        {"source_input_ids": tokens(2, 4), "source_attention_mask": tokens(2, 3)},
        "source_attention_mask has shape (2, 3), its tokens (2, 4)",
    ),
    (
        TEXT,
        {"source_input_ids": tokens(2, 4), "fusion_mask": tokens(2, 3)},
        "the target's mask has shape (2, 3), its tokens (2, 4)",
    ),
    (
        TEXT,
        {"source_input_ids": tokens(2, 4), "attention_mask": torch.ones(2, 1, 4, 4)},
        "the target's attention mask has shape (2, 1, 4, 4), expected [B,T]; pass fusion_mask",
    ),
    (TEXT, {"source_ids": tokens(2, 4)}, "got source_ids and no source: expected source_input_ids or source_latents"),
    (TEXT, {"source_attention_mask": tokens(2, 4)}, "got source_attention_mask and no source"),
]


@pytest.mark.parametrize(("model", "given", "message"), CALLS, ids=[message[:40] for _, _, message in CALLS])
def test_wrong_calls(model: Any, given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        model(**TARGET | given)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert calls(model).frame is None


def test_no_target_tokens() -> None:
    with pytest.raises(UserError, match="called with input_ids or inputs_embeds"):
        TEXT(source_input_ids=tokens(2, 4))


def test_a_source_without_columns_is_no_source() -> None:
    empty = {"source_input_ids": tokens(2, 0), "source_attention_mask": tokens(2, 0)}
    assert torch.equal(logits(TEXT, TARGET | empty), logits(TEXT, TARGET))


def test_sources_of_none_are_no_source() -> None:
    given: dict[str, Any] = {"source_input_ids": None, "source_attention_mask": None, "fusion_mask": None}
    assert torch.equal(logits(TEXT, TARGET | given), logits(TEXT, TARGET))


@pytest.mark.parametrize("merge", ["merge_and_unload", "merge_adapter"])
def test_merging_is_refused_and_changes_nothing(merge: str) -> None:
    model = flare(build("bert"))
    expected = logits(model, batch().both())
    with pytest.raises(UserError, match=r"cannot be merged: its result depends on the source text.*export_plain_lora"):
        getattr(model, merge)()
    assert torch.equal(logits(model, batch().both()), expected)


def test_weighted_sums_of_adapters_are_refused() -> None:
    model = flare(build("bert"))
    with pytest.raises(UserError, match=r"FLARE adapters cannot be combined by weights: .*; train a joint adapter"):
        model.add_weighted_adapter(["default"], [1.0], "sum")


def test_text_adapters_and_latents_on_one_base() -> None:
    model = flare(build("bert"))
    model.add_adapter("mt", crossflare.FlareConfig(task_type="SEQ_CLS", r=2, mt_dim=5))
    with pytest.raises(UserError, match="got latents"):
        model(**TARGET, source_latents=torch.ones(2, 4, 5).double())
    model.set_adapter("mt")
    assert not hasattr(model(**TARGET, source_latents=torch.ones(2, 4, 5).double()), "source_logits")
    with pytest.raises(UserError, match="got text"):
        model(**TARGET, source_input_ids=tokens(2, 4))
