"""Puts this folder on the import path: tests share helpers, such as `fusion_models`, by plain imports; no network."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before anything imports the hub's client
os.environ.setdefault("CROSSFLARE_DEVICE", "cpu")  # whose results the laws compare byte by byte, on any machine
for library in ("OMP", "MKL", "OPENBLAS"):  # before torch and numpy: workers beside each other do not fight for cores
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")
HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from deprecations import Deprecations  # noqa: E402
from times import Times  # noqa: E402

for name, examples in (("fast", 25), ("full", 200)):  # `make test-all` takes full
    settings.register_profile(
        name, max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
    )
settings.load_profile("fast")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--times", type=Path, help="write what each test costs to this file, the dearest first")


def pytest_configure(config: pytest.Config) -> None:
    spec = find_spec("crossflare")
    assert spec is not None
    config.pluginmanager.register(Deprecations([HERE, *map(Path, spec.submodule_search_locations or ())]))
    if (path := config.getoption("--times")) is not None:
        config.pluginmanager.register(Times(path), "times")


@pytest.fixture(autouse=True)
def _no_progress_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep lines that only time brings out of what commands print: how slow this machine is changes no test."""
    monkeypatch.setattr("crossflare.progress.lines.BEAT", 1e6)
