"""Several processes: sharded blocks give the model's loss and gradients, and every trained weight has a gradient."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.fsdp import fully_shard

from fusion_models import batch, build, flare
from writing_models import adapted, prompts
from writing_models import build as build_writer

CLOSE: dict[str, Any] = {"rtol": 0, "atol": 1e-5}


@pytest.fixture
def one_process() -> Iterator[None]:
    dist.init_process_group("gloo", rank=0, world_size=1, store=dist.HashStore())
    yield
    dist.destroy_process_group()


def trained(sharded: bool, **options: Any) -> tuple[Tensor, list[Tensor]]:
    """Return the loss and the gradients of the trained weights."""
    model = flare(build("bert", dtype=torch.float32), **options)
    inputs = batch([7, 4, 5], [5, 8, 0]).both()
    if "mt_dim" in options:
        inputs["source_latents"] = torch.randn(3, 8, 5, generator=torch.Generator().manual_seed(5))
        del inputs["source_input_ids"]
    if sharded:
        for block in model.base_model.model.bert.encoder.layer:
            fully_shard(block)
        fully_shard(model)
    loss = model.train()(**inputs, labels=torch.tensor([0, 1, 2])).loss
    loss.backward()
    found: list[Any] = [weight.grad for weight in model.parameters() if weight.requires_grad]
    return loss.detach(), [each.full_tensor() if sharded else each for each in found]


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize("options", [{}, {"mt_dim": 5}, {"fusion": "cross_attention"}], ids=str)
def test_sharded_blocks(options: dict[str, Any]) -> None:
    torch.testing.assert_close(trained(True, **options), trained(False, **options), **CLOSE)


@pytest.mark.parametrize("source", [True, False])
@pytest.mark.parametrize("family", ["mt5", "llama"])
@pytest.mark.parametrize(
    "options", [{"fusion": "cross_attention"}, {"fusion": "cross_attention_paper"}, {"mt_dim": 5}], ids=str
)
def test_every_trained_weight_has_a_gradient(options: dict[str, Any], family: str, source: bool) -> None:
    """Processes wait for all gradients, those of a batch without any source too."""
    model = adapted(family, base=build_writer(family), **options).train()
    inputs = prompts(family, [5, 3], [4, 6])
    if "mt_dim" in options:
        width = inputs.pop("source_input_ids").shape[1]
        inputs["source_latents"] = torch.randn(2, width, 5, dtype=torch.float64)
    if not source:
        inputs = {name: tensor for name, tensor in inputs.items() if "source" not in name}
    model(**inputs, labels=inputs["input_ids"]).loss.backward()
    assert not [name for name, weight in model.named_parameters() if weight.requires_grad and weight.grad is None]
