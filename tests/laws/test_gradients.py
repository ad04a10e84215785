"""Gradients against finite differences, and where they must not go."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.autograd.gradcheck import GradcheckError

from crossflare.fusion.alignment import attention, pair_nothing, position
from crossflare.fusion.functions import make_phi
from crossflare.fusions import FUSIONS
from fusion_models import PAIRS, batch, build, flare, frame_of
from lanes import cover


def numbers(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator).requires_grad_()


MASKS = (torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 0]]).bool(), torch.tensor([[1, 1], [0, 1], [0, 0]]).bool())
"""Target [3,3] and source [3,2]; the last row has no source."""


@pytest.mark.parametrize("fusion", list(FUSIONS))
def test_phi(fusion: str) -> None:
    torch.manual_seed(0)
    phi = make_phi(fusion, 2)
    weights = list(phi.double().parameters()) if isinstance(phi, nn.Module) else []
    for weight in weights:
        nn.init.normal_(weight)
    pairing = position(*MASKS, "start") if FUSIONS[fusion].aligned else pair_nothing(*MASKS)
    assert torch.autograd.gradcheck(
        lambda source, target, *weights: phi(source, target, pairing),
        (numbers(3, 2, 2, seed=1), numbers(3, 3, 2, seed=2), *weights),
    )


def test_alignment_by_attention() -> None:
    def carried(x: Tensor, v: Tensor, low: Tensor) -> Tensor:
        return attention(*MASKS, x, v).carry(low, 0.0)

    inputs = numbers(3, 3, 4, seed=1), numbers(3, 2, 4, seed=2), numbers(3, 2, 2, seed=3)
    assert torch.autograd.gradcheck(carried, inputs)


def test_gradcheck_sees_a_wrong_gradient() -> None:
    """The control."""
    with pytest.raises(GradcheckError):
        torch.autograd.gradcheck(
            lambda x, v: attention(*MASKS, x.detach() + 0 * x, v).carry(v, 0.0),
            (numbers(3, 3, 2, seed=1), numbers(3, 2, 2, seed=2)),
        )


@pytest.mark.parametrize(("fusion", "alignment"), cover(PAIRS))
def test_a_whole_step_against_differences(fusion: str, alignment: str) -> None:
    both, labels = batch([5, 3], [4, 0]), torch.tensor([0, 2])
    model: Any = flare(build("bert"), fusion=fusion, alignment=alignment)
    model(**both.both(), labels=labels).loss.backward()
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    generator, step = torch.Generator().manual_seed(1), 1e-6
    for name, parameter in trained:
        assert parameter.grad is not None, name
        direction = torch.randn(parameter.shape, dtype=torch.float64, generator=generator)
        losses = []
        with torch.no_grad():
            for sign in (1, -1):
                parameter += sign * step * direction
                losses.append(model(**both.both(), labels=labels).loss)
                parameter -= sign * step * direction
        slope = (losses[0] - losses[1]) / (2 * step)
        torch.testing.assert_close((parameter.grad * direction).sum(), slope, rtol=1e-5, atol=1e-7, msg=name)


def test_no_gradient_reaches_the_base_or_the_source_pass() -> None:
    model = flare(build("bert")).train()
    for name, parameter in model.named_parameters():  # even when the base could take one
        parameter.requires_grad_(True)
        del name
    assert not model(**batch().both()).source_logits.requires_grad
    (side,) = frame_of(model, batch().both()).sides.values()
    assert not any(state.requires_grad for state in side.source.states)


@given(st.sampled_from(PAIRS), st.integers(0, 99))
def test_gradients_are_finite_with_rows_without_source(pair: tuple[str, str], seed: int) -> None:
    model = flare(build("bert"), fusion=pair[0], alignment=pair[1], seed=seed).train()
    model(**batch([4, 1, 3], [0, 2, 1]).both(), labels=torch.tensor([0, 1, 2])).loss.backward()
    for parameter in model.parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all()
