"""Puts this folder on the import path: tests share helpers, such as `fusion_models`, by plain imports; no network."""

import os
import sys
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before anything imports the hub's client
for library in ("OMP", "MKL", "OPENBLAS"):  # before torch and numpy: workers beside each other do not fight for cores
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))

from times import Times  # noqa: E402


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--times", type=Path, help="write what each test costs to this file, the dearest first")


def pytest_configure(config: pytest.Config) -> None:
    if (path := config.getoption("--times")) is not None:
        config.pluginmanager.register(Times(path), "times")
