"""An error in the middle of a forward pass, and the end of every pass, leave nothing behind."""

import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import PeftModel
from peft.utils.other import AuxiliaryTrainingWrapper

from crossflare.fusion.frame import READING
from fusion_models import FAMILIES, batch, build, calls, flare, logits
from lanes import cover


class Trouble(Exception):
    """What the hooks raise."""


def state(model: PeftModel) -> dict[str, Any]:
    """Return everything that a pass might leave changed."""
    return {
        "training": [module.training for module in model.modules()],
        "gradients": [parameter.requires_grad for parameter in model.parameters()],
        "heads": [m._disable_adapters for m in model.modules() if isinstance(m, AuxiliaryTrainingWrapper)],
        "hooks": [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()],
    }


def fail_while(reading: bool, model: PeftModel) -> Callable[..., None]:
    def hook(*args: object) -> None:
        if (calls(model).frame is READING) == reading:
            raise Trouble

    return hook


@pytest.mark.parametrize(("family", "reading", "training"), cover(FAMILIES, [True, False], [True, False]))
def test_an_error_leaves_no_state(family: str, reading: bool, training: bool) -> None:
    both, model = batch(), flare(build(family))
    expected = logits(model, both.both())
    model.train(training)
    before = state(model)
    assert any(before["training"]) == training
    (blocks,) = model.base_model.attachment.source_pass.blocks.values()
    last_block = blocks[-1]
    handle = last_block.register_forward_hook(fail_while(reading, model))
    with pytest.raises(Trouble):
        model(**both.both())
    handle.remove()
    assert calls(model).frame is None
    assert state(model) == before
    torch.testing.assert_close(logits(model.eval(), both.both()), expected, rtol=0, atol=0)


@pytest.mark.parametrize("part", ["deep inside a layer", "in the head"])
def test_errors_elsewhere_leave_no_state(part: str) -> None:
    both, model = batch(), flare(build("bert"))
    before, inner = state(model), model.base_model.model
    head, value = inner.classifier, inner.bert.encoder.layer[1].attention.self.value
    target, source = (head, head.original_module) if part == "in the head" else (value, value.base_layer)
    for reading, module in ((True, source), (False, target)):
        handle = module.register_forward_pre_hook(fail_while(reading, model))
        with pytest.raises(Trouble):
            model(**both.both())
        handle.remove()
        assert calls(model).frame is None
        assert state(model) == before


def test_some_modules_in_eval_stay_in_eval() -> None:
    model = flare(build("bert", dropout=0.5)).train()
    model.base_model.model.bert.embeddings.eval()
    before = state(model)
    model(**batch().both())
    assert state(model) == before


@pytest.mark.parametrize("guard", [torch.no_grad, torch.inference_mode])
def test_inference_leaves_no_frame(guard: Callable[[], Any]) -> None:
    model, both = flare(build("bert")), batch()
    with guard():
        assert model(**both.both()).source_logits is not None
    assert calls(model).frame is None


def test_training_leaves_no_frame() -> None:
    """Activation checkpointing carries the frame of its own forward: nothing is kept for it on the model."""
    model, both = flare(build("bert")).train(), batch()
    output = model(**both.both())
    assert calls(model).frame is None
    source = weakref.ref(output.source_logits)
    output.logits.sum().backward()
    del output
    assert source() is None


def test_a_forward_without_source_sees_none_of_the_last() -> None:
    model, both = flare(build("bert")), batch()
    alone = logits(model, both.target)
    model(**both.both())
    assert torch.equal(model(**both.target).logits, alone)
