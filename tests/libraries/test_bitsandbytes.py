"""The contract with bitsandbytes: its 4-bit layers can be kept from their form for inference."""

import sys

import pytest
import torch
from torch import nn

from crossflare.libraries import guard
from crossflare.libraries import torch as seams

bitsandbytes = pytest.importorskip("bitsandbytes")


def layer() -> nn.Module:
    return bitsandbytes.nn.Linear4bit(64, 64, bias=False, compute_dtype=torch.float32, quant_type="nf4").to("cpu")


def test_every_guarded_name_is_there(contract) -> None:
    assert len(contract.places("bitsandbytes")) >= 2
    for place in contract.places("bitsandbytes"):
        assert guard.name(place) is not None


def test_quantised_layers_are_known(monkeypatch) -> None:
    assert seams.is_quantised(layer())
    assert seams.is_quantised(bitsandbytes.nn.Linear8bitLt(4, 4))
    assert not seams.is_quantised(nn.Linear(4, 4))
    monkeypatch.delitem(sys.modules, "bitsandbytes")
    assert not seams.is_quantised(nn.Linear(4, 4))


def test_a_call_without_gradients_does_not_cost_those_of_the_next(monkeypatch) -> None:
    one = layer()
    assert seams.keep_differentiable(nn.Sequential(one, nn.Linear(64, 64))) == 1
    with torch.no_grad():
        one.eval()(torch.randn(2, 64))
    x = torch.randn(2, 64, requires_grad=True)
    one.train()(x).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    assert one.support_avx512bf16_for_cpu is False


def test_without_the_switch_is_one_line(contract) -> None:
    one = layer()
    del one.support_avx512bf16_for_cpu
    says = r"Linear4bit\.support_avx512bf16_for_cpu"
    with pytest.raises(guard.LibraryError, match=contract.one_line("bitsandbytes", says)):
        seams.keep_differentiable(one)
