"""Puts this folder on the import path: tests share helpers, such as `fusion_models`, by plain imports; no network."""

import os
import sys
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before anything imports the hub's client
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _no_progress_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep lines that only time brings out of what commands print: how slow this machine is changes no test."""
    monkeypatch.setattr("crossflare.progress.lines.BEAT", 1e6)
