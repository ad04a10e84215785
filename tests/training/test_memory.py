"""The peak is of the work that was measured, not of what the process held before."""

from pathlib import Path

import numpy as np
import pytest

from crossflare.training.loop import memory
from crossflare.training.loop.memory import peak_memory

MEGABYTE = 2**20


@pytest.mark.skipif(not memory.RESET.exists(), reason="only Linux measures it anew")
def test_the_peak_is_of_the_work_alone() -> None:
    before = np.ones(200 * MEGABYTE, dtype=np.uint8)
    del before
    with peak_memory() as idle:
        quiet = idle()
    with peak_memory() as busy:
        held = np.ones(150 * MEGABYTE, dtype=np.uint8)
        del held
    loud = busy()
    assert quiet is not None
    assert loud is not None
    assert 140 * MEGABYTE < loud - quiet < 190 * MEGABYTE


def test_where_it_cannot_be_measured_nothing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "RESET", tmp_path / "missing" / "clear_refs")
    monkeypatch.setattr(memory.torch.cuda, "is_available", lambda: False)
    with peak_memory() as peak:
        pass
    assert peak() is None
