"""Gradients are the same with activation checkpointing, which runs the layers again after the forward call is over."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from crossflare.errors import UserError
from crossflare.fusion.calls import Carrying
from crossflare.fusion.frame import READING
from crossflare.libraries.transformers import with_checkpointing
from fusion_models import FAMILIES, batch, build, calls, flare
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
        with_checkpointing(model, reentrant=reentrant)
    return model.train()


def gradients(model: PeftModel, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    model.zero_grad()
    model(**batch, labels=torch.tensor([0, 1, 2])).loss.backward()
    return taken(model)


def taken(model: PeftModel) -> dict[str, Tensor]:
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
def test_what_is_run_again_needs_the_frame_of_its_forward(
    family: str, reentrant: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: where nothing carries the frame, the layers refuse to run again as if there were no source."""
    monkeypatch.setattr(Carrying, "__call__", lambda self, *args, **kwargs: self.plain(*args, **kwargs))
    monkeypatch.setattr("crossflare.fusion.calls.tag", lambda states: None)
    with pytest.raises(UserError, match=r"runs this layer again, and its source is not known; use the model's own"):
        gradients(train(flare(build(family)), reentrant), inputs(False))


def summed(model: PeftModel, batches: list[dict[str, Tensor]]) -> Tensor:
    """Return the loss of several calls, each with its own source."""
    return torch.stack([model(**each, labels=torch.tensor([0, 1, 2])).loss for each in batches]).sum()


def unlike() -> list[dict[str, Tensor]]:
    return [batch([7, 4, 5], [5, 8, 0]).both(), batch([6, 4, 7], [9, 2, 4]).both()]


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("family", ["bert", "deberta"])
def test_two_forwards_and_then_both_backwards(family: str, reentrant: bool) -> None:
    plain, model = train(flare(build(family)), None), train(flare(build(family)), reentrant)
    summed(plain, unlike()).backward()
    summed(model, unlike()).backward()
    assert same(taken(model), taken(plain))


@pytest.mark.parametrize("reentrant", [True, False])
def test_forward_in_one_thread_and_backward_in_another(reentrant: bool) -> None:
    plain, model = train(flare(build("bert")), None), train(flare(build("bert")), reentrant)
    summed(plain, unlike()).backward()
    loss = summed(model, unlike())
    with ThreadPoolExecutor(1) as pool:
        pool.submit(loss.backward).result()
    assert same(taken(model), taken(plain))


class Wrapped(torch.nn.Module):
    """A block under a checkpoint of torch's, hooks and all."""

    def __init__(self, block: torch.nn.Module, reentrant: bool) -> None:
        super().__init__()
        self.block, self.reentrant = block, reentrant

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return checkpoint(lambda *given: self.block(*given, **kwargs), *args, use_reentrant=self.reentrant)


def wrapped(reentrant: bool) -> PeftModel:
    model = flare(build("bert"))
    layers = model.base_model.model.bert.encoder.layer
    for at, block in enumerate(list(layers)):
        layers[at] = Wrapped(block, reentrant)
    model.enable_input_require_grads()
    return model.train()


def test_blocks_checkpointed_from_outside() -> None:
    plain, model = train(flare(build("bert")), None), wrapped(False)
    summed(plain, unlike()).backward()
    summed(model, unlike()).backward()
    assert list(taken(model).values()) != []
    for mine, theirs in zip(taken(model).values(), taken(plain).values(), strict=True):
        torch.testing.assert_close(mine, theirs, **EXACT)


def test_blocks_checkpointed_from_outside_in_the_reentrant_mode_are_refused() -> None:
    with pytest.raises(UserError, match="checkpoint whole blocks with use_reentrant=False"):
        summed(wrapped(True), unlike()).backward()


def test_checkpointing_is_really_on() -> None:
    model, seen = train(flare(build("bert")), True), []
    model.base_model.model.bert.encoder.layer[0].attention.self.query.register_forward_hook(
        lambda *args: seen.append(calls(model).frame is READING)
    )
    gradients(model, inputs(False))
    assert seen == [False, False]  # the target, and the target again; the source is read without adapters


def test_the_frame_of_the_last_forward_serves_two_backward_passes() -> None:
    given, model = inputs(False), train(flare(build("bert")), False)
    loss = model(**given, labels=torch.tensor([0, 1, 2])).loss
    loss.backward(retain_graph=True)
    once = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    loss.backward()
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(parameter.grad, 2 * once[name], **EXACT)
