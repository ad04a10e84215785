"""torch.compile and torch.export: what is compiled computes what is not."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor

from crossflare.errors import UserError
from fusion_models import batch, build, flare, logits
from writing_models import adapted, prompts, write
from writing_models import build as build_writer

CLOSE: dict[str, Any] = {"rtol": 0, "atol": 1e-5}
LABELS = torch.tensor([0, 1, 2])


def made(family: str, **options: Any) -> tuple[Any, dict[str, Tensor]]:
    """Return a model and a batch with a row that has no source."""
    if family in ("llama", "mt5"):
        model = adapted(family, base=build_writer(family, dtype=torch.float32), **options)
        more = {"decoder_input_ids": torch.tensor([[1, 5, 6], [1, 7, 8]])} if family == "mt5" else {}
        return model, prompts(family, [5, 3], [4, 6]) | more | {"use_cache": False}
    both = batch([7, 4, 5], [5, 8, 0])
    inputs = both.both()
    if "mt_dim" in options:
        inputs["source_latents"] = torch.randn(3, 8, 5)
        del inputs["source_input_ids"]
    return flare(build(family, dtype=torch.float32), **options), inputs


WAYS: list[tuple[str, dict[str, Any]]] = [
    ("bert", {}),
    ("bert", {"mt_dim": 5}),
    ("bert", {"alignment": "attention"}),
    ("bert", {"fusion": "cross_attention"}),
    ("deberta", {}),
    ("llama", {}),
    ("mt5", {}),
]


@pytest.mark.parametrize("strict", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("family", "options"),
    [WAYS[0], *(pytest.param(*way, marks=pytest.mark.slow) for way in WAYS[1:] if way[0] != "deberta")],
)
def test_an_exported_model(family: str, options: dict[str, Any], strict: bool) -> None:
    model, inputs = made(family, **options)
    with torch.no_grad():
        exported = torch.export.export(model, (), inputs, strict=strict).module()
    torch.testing.assert_close(logits(exported, inputs), logits(model, inputs), **CLOSE)


@pytest.mark.slow
@pytest.mark.parametrize(("family", "options"), WAYS)
def test_a_model_in_one_graph(family: str, options: dict[str, Any]) -> None:
    torch.compiler.reset()
    model, inputs = made(family, **options)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(logits(compiled, inputs), logits(model, inputs), **CLOSE)


@pytest.mark.slow
def test_training_in_one_graph_over_several_lengths() -> None:
    torch.compiler.reset()
    found = []
    for compiled in (False, True):
        model, _ = made("bert")
        model.train()
        call = torch.compile(model, backend="aot_eager", fullgraph=True) if compiled else model
        for targets, sources in (([7, 4, 5], [5, 8, 0]), ([6, 3, 2], [4, 2, 6]), ([9, 3, 2], [1, 2, 3])):
            call(**batch(targets, sources).both(), labels=LABELS).loss.backward()
        found.append([weight.grad for weight in model.parameters() if weight.grad is not None])
    torch.testing.assert_close(*found, **CLOSE)


@pytest.mark.slow
def test_compiled_blocks_in_several_threads() -> None:
    torch.compiler.reset()
    model, _ = made("bert")
    inputs = [batch([7, 4, 5], [5, 8, length]).both() for length in (0, 3, 6)]
    expected = [logits(model, each) for each in inputs]
    for block in model.base_model.model.bert.encoder.layer:
        block.compile(backend="eager")
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda each: logits(model, each), inputs * 5))
    for one, other in zip(found, expected * 5, strict=True):
        torch.testing.assert_close(one, other, **CLOSE)


@pytest.mark.slow
def test_a_graph_that_is_broken_in_the_middle() -> None:
    torch.compiler.reset()
    model, inputs = made("bert")
    expected = logits(model, inputs)
    model.base_model.model.bert.encoder.layer[0].register_forward_hook(lambda *_: torch._dynamo.graph_break())
    compiled = torch.compile(model, backend="eager")
    torch.testing.assert_close(logits(compiled, inputs), expected, **CLOSE)
    torch.testing.assert_close(logits(model, inputs), expected, **CLOSE)


def test_writing_with_a_model_compiled_as_a_whole_is_refused() -> None:
    model, inputs = made("llama")
    del inputs["use_cache"]
    expected = write(model, inputs)
    model.get_base_model().compile(backend="eager")
    with pytest.raises(UserError, match="cannot run a model compiled as a whole"):
        write(model, inputs)
    model.get_base_model()._compiled_call_impl = None
    assert torch.equal(write(model, inputs), expected)


def test_a_static_cache_starts_no_compilation() -> None:
    model, inputs = made("llama")
    del inputs["use_cache"]
    seen: list[bool] = []
    base = model.get_base_model()
    plain = base.get_compiled_call
    base.get_compiled_call = lambda *args: seen.append(True) or plain(*args)
    base._valid_auto_compile_criteria = lambda kwargs, config: not config.disable_compile  # as on a GPU
    assert torch.equal(write(model, inputs, cache_implementation="static"), write(model, inputs))
    assert not seen


def test_a_static_cache_of_an_encoder_decoder_model_is_refused() -> None:
    model, inputs = made("mt5")
    given = {name: tensor for name, tensor in inputs.items() if name not in ("decoder_input_ids", "use_cache")}
    with pytest.raises(UserError, match="keeps a pair of dynamic key-value caches"):
        write(model, given, cache_implementation="static")
