"""One model called from several threads, from its own hooks, and interrupted: every call has its own source."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import CheckpointImpl, checkpoint_wrapper
from transformers import LogitsProcessor, LogitsProcessorList

from crossflare.errors import UserError
from fusion_models import batch, build, calls, flare, logits
from writing_models import adapted, prompts, write
from writing_models import build as build_writer

EXACT: dict[str, Any] = {"rtol": 0, "atol": 1e-12}
BATCHES = [batch([7, 4, 5], [5, 8, 0]).both(), batch([6, 4, 7], [9, 2, 4]).both()]


def block(model: PeftModel) -> Any:
    return model.base_model.model.bert.encoder.layer[0]


def test_threads_that_train_and_predict() -> None:
    model = flare(build("bert")).train()
    trained = [weight for weight in model.parameters() if weight.requires_grad]

    def gradients() -> list[Tensor]:
        return list(torch.autograd.grad(model(**BATCHES[0]).logits.square().sum(), trained))

    def both(pool: ThreadPoolExecutor) -> tuple[list[Tensor], Tensor]:
        one, other = pool.submit(gradients), pool.submit(logits, model, BATCHES[1])
        return one.result(), other.result()

    expected, predicted = gradients(), logits(model, BATCHES[1])
    with ThreadPoolExecutor(2) as pool:
        for _ in range(10):
            found, other = both(pool)
            torch.testing.assert_close(found, expected, **EXACT)
            torch.testing.assert_close(other, predicted, **EXACT)


@pytest.mark.parametrize("family", ["llama", "mt5"])
@pytest.mark.parametrize("beams", [1, 2])
def test_threads_that_write(family: str, beams: int) -> None:
    model = adapted(family, alignment="attention")
    inputs = [prompts(family, [5, 3], [4 + more, 6]) for more in (0, 4)]
    expected = [write(model, each, num_beams=beams) for each in inputs]
    assert not torch.equal(*expected)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda each: write(model, each, num_beams=beams), inputs * 2))
    assert all(torch.equal(one, other) for one, other in zip(found, expected * 2, strict=True))


@pytest.mark.parametrize("at", [1, 2])
def test_a_call_inside_of_a_call(at: int) -> None:
    """The first time the block reads the source, the second time the target."""
    model, found, times = flare(build("bert")), [], []
    expected = [logits(model, each) for each in BATCHES]

    def call(*_: Any) -> None:
        times.append(1)
        if len(times) == at:
            found.append(logits(model, BATCHES[1]))

    block(model).register_forward_hook(call)
    assert torch.equal(logits(model, BATCHES[0]), expected[0])
    assert torch.equal(found[0], expected[1])


def test_writing_and_calls_inside_of_writing() -> None:
    model = adapted("llama", alignment="attention")
    inputs, others = prompts("llama", [5, 3], [4, 6]), prompts("llama", [4, 4], [7, 6])
    expected, predicted, written = write(model, inputs), logits(model, others), write(model, others)
    found: list[tuple[Tensor, Tensor]] = []

    class Aside(LogitsProcessor):
        def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
            if not found:
                found.append((logits(model, others), write(model, others)))
            return scores

    assert torch.equal(write(model, inputs, logits_processor=LogitsProcessorList([Aside()])), expected)
    assert torch.equal(found[0][0], predicted)
    assert torch.equal(found[0][1], written)


@pytest.mark.parametrize("at", [1, 2])
def test_a_call_that_is_interrupted_leaves_nothing(at: int) -> None:
    model, times = flare(build("bert")), []
    plain = logits(model, batch().target)

    def interrupt(*_: Any) -> None:
        times.append(1)
        if len(times) == at:
            raise KeyboardInterrupt

    block(model).register_forward_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        model(**BATCHES[0])
    assert calls(model).frame is None
    assert torch.equal(logits(model, batch().target), plain)


def test_a_compilation_elsewhere_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch raises its flag for the whole process while one thread compiles; the others' calls stay their own."""
    model = flare(build("bert"))
    expected = logits(model, BATCHES[0])
    monkeypatch.setattr(torch.compiler, "_is_compiling_flag", True)
    assert torch.compiler.is_compiling()
    seen = []
    block(model).register_forward_hook(lambda *_: seen.append(vars(calls(model))["_traced"]))
    assert torch.equal(logits(model, BATCHES[0]), expected)
    assert seen == [None, None]


def wrapped(base: Any, mode: CheckpointImpl) -> Any:
    for at, layer in enumerate(base.model.layers):
        base.model.layers[at] = checkpoint_wrapper(layer, checkpoint_impl=mode)
    return base


def gradients(model: PeftModel) -> dict[str, Tensor]:
    model.train()
    inputs = [prompts("llama", [5, 3], [more, 6]) for more in (4, 7)]
    sum(model(**each, labels=each["input_ids"], use_cache=False).loss for each in inputs).backward()
    named = model.named_parameters()
    return {name.replace("_checkpoint_wrapped_module.", ""): w.grad for name, w in named if w.grad is not None}


@pytest.mark.parametrize("first", ["wrapper", "adapter"])
def test_blocks_in_checkpoint_wrappers(first: str) -> None:
    """With the norm before the attention, which is found inside of the wrapper."""
    base, mode = build_writer("llama"), CheckpointImpl.NO_REENTRANT
    if first == "wrapper":
        model = adapted("llama", base=wrapped(base, mode))
    else:
        model = adapted("llama", base=base)
        wrapped(base, mode)
    found, expected = gradients(model), gradients(adapted("llama"))
    assert found.keys() == expected.keys()
    torch.testing.assert_close(found, expected, **EXACT)


def test_reentrant_checkpoint_wrappers_are_refused() -> None:
    model = adapted("llama", base=wrapped(build_writer("llama"), CheckpointImpl.REENTRANT))
    model.enable_input_require_grads()
    with pytest.raises(UserError, match="its source is not known; use the model's own gradient_checkpointing_enable"):
        gradients(model)
