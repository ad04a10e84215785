"""Gradients are the same with activation checkpointing, which runs the layers again after the forward call is over."""

from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor

from fusion_models import FAMILIES, batch, build, checkpoint, flare, slot
from lanes import cover

EXACT: dict[str, Any] = {"rtol": 0, "atol": 1e-12}
SETTINGS: dict[str, dict[str, Any]] = {
    "text": {},
    "attention": {"fusion": "mul", "alignment": "attention"},
    "cross_attention": {"fusion": "cross_attention"},
    "cross_attention_paper": {"fusion": "cross_attention_paper"},
    "flare_mt": {"mt_dim": 5},
}


def inputs(mt: bool) -> dict[str, Tensor]:
    both = batch([7, 4, 5], [5, 8, 0])
    if not mt:
        return both.both()
    latents = torch.randn(3, 8, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    return both.target | {"source_latents": latents, "source_attention_mask": both.source["attention_mask"]}


def train(model: PeftModel, reentrant: bool | None) -> PeftModel:
    """Put the model in training with or without checkpointing; the dropout rates are zero."""
    if reentrant is not None:
        checkpoint(model, reentrant=reentrant)
    return model.train()


def gradients(model: PeftModel, batch: dict[str, Tensor], *, lose_frame: bool = False) -> dict[str, Tensor]:
    model.zero_grad()
    loss = model(**batch, labels=torch.tensor([0, 1, 2])).loss
    if lose_frame:
        slot(model).clear()
    loss.backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad and p.grad is not None}
    assert len(found) == sum(p.requires_grad for p in model.parameters())
    return found


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    assert one.keys() == other.keys()
    return all(torch.allclose(one[name], other[name], **EXACT) for name in one)


@pytest.mark.parametrize(
    ("family", "setting", "reentrant"), cover(["bert", "deberta", "modernbert"], SETTINGS, [True, False])
)
def test_gradients_are_the_same(family: str, setting: str, reentrant: bool) -> None:
    options, given = SETTINGS[setting], inputs("mt_dim" in SETTINGS[setting])
    plain = gradients(train(flare(build(family), **options), None), given)
    checkpointed = train(flare(build(family), **options), reentrant)
    assert same(gradients(checkpointed, given), plain)
    assert same(gradients(checkpointed, given), plain)  # and at the second step


@pytest.mark.parametrize(("family", "reentrant"), cover(FAMILIES, [True, False]))
def test_checkpointing_needs_the_frame_until_backward(family: str, reentrant: bool) -> None:
    """The control: with the frame gone the layers would run again as if there were no source."""
    plain = gradients(train(flare(build(family)), None), inputs(False))
    model = train(flare(build(family)), reentrant)
    try:
        broken = gradients(model, inputs(False), lose_frame=True)
    except (RuntimeError, torch.utils.checkpoint.CheckpointError):
        return  # the other way to be broken: torch sees that the graph differs
    assert not same(broken, plain)


def test_checkpointing_is_really_on() -> None:
    model, calls = train(flare(build("bert")), True), []
    model.base_model.model.bert.encoder.layer[0].attention.self.query.register_forward_hook(
        lambda *args: calls.append(slot(model).reading)
    )
    gradients(model, inputs(False))
    assert calls == [True, False, False]  # the source, the target, the target again


def test_the_frame_of_the_last_forward_serves_two_backward_passes() -> None:
    given, model = inputs(False), train(flare(build("bert")), False)
    loss = model(**given, labels=torch.tensor([0, 1, 2])).loss
    loss.backward(retain_graph=True)
    once = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    loss.backward()
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(parameter.grad, 2 * once[name], **EXACT)
