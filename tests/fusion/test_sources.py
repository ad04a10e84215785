"""The states of the source: how they are and the rows that have none."""

import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from crossflare.errors import UserError
from crossflare.fusion.calls import Calls
from crossflare.fusion.frame import Frame, LatentStates, ModelStates, Side, drop_rows, real_rows
from crossflare.fusion.reading import SourceReader

MASKS = st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=4).map(torch.tensor)


@given(MASKS)
def test_rows_without_tokens_get_one_and_the_others_none(mask: torch.Tensor) -> None:
    """Some kernels of attention give NaN for a row with nothing to attend to."""
    opened = real_rows(mask)
    for before, after in zip(mask.tolist(), opened.tolist(), strict=True):
        others_end_last = all(row[-1] or not any(row) for row in mask.tolist())
        assert after == (before if any(before) else [not others_end_last, False, others_end_last])


@given(MASKS)
def test_dropped_rows_are_whole_rows(mask: torch.Tensor) -> None:
    dropped = drop_rows(mask, 0.5)
    for before, after in zip(mask.tolist(), dropped.tolist(), strict=True):
        assert after in (before, [False] * 3)
    assert torch.equal(drop_rows(mask, 0.0), mask)


def test_the_share_of_dropped_rows() -> None:
    torch.manual_seed(0)
    kept = drop_rows(torch.ones(4000, 1, dtype=torch.bool), 0.3).float().mean()
    assert abs(float(kept) - 0.7) < 0.03


class Model(nn.Module):
    """Runs its blocks in an order of choice."""

    def __init__(self, order: list[int]) -> None:
        super().__init__()
        self.layer = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
        self.order = order

    def forward(self, attention_mask: torch.Tensor) -> None:
        x = torch.ones(1, 3, 2)
        for index in self.order:
            x = self.layer[index](x)


def run(order: list[int]) -> list[torch.Tensor]:
    """Return the recorded states of a pass that runs the blocks in this order."""
    model = Model(order)
    states = SourceReader(model, {"blocks": list(model.layer)}).read({"attention_mask": torch.ones(1, 3)}).states
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    return states["blocks"]


def test_blocks_that_run_twice_or_never_are_refused() -> None:
    assert [state.shape for state in run([0, 1])] == [(1, 3, 2)] * 3
    with pytest.raises(
        UserError, match=r"gave 2 states for 2 blocks of blocks, .*; this model does not run each block once"
    ):
        run([0])
    with pytest.raises(UserError, match="gave 5 states for 2 blocks"):
        run([0, 0, 1])


def test_states_and_masks_of_different_shapes() -> None:
    mask = torch.ones(2, 3, dtype=torch.bool)
    with pytest.raises(UserError, match=r"source states \[\(2, 4, 5\)\] do not fit their mask \(2, 3\)"):
        ModelStates([torch.ones(2, 4, 5)], mask)
    with pytest.raises(UserError, match=r"source_latents \(2, 4, 5\) do not fit source_attention_mask \(2, 3\)"):
        LatentStates(torch.ones(2, 4, 5), mask)


def test_copies_hold_no_frame() -> None:
    calls, mask = Calls(), torch.ones(1, 1, dtype=torch.bool)
    calls.open(Frame({"blocks": Side(ModelStates([torch.ones(1, 1, 2)], mask), mask)}))
    twin = pickle.loads(pickle.dumps(calls))
    assert twin.frame is None
    assert calls.frame is not None
    calls.close()
    assert calls.frame is None
