"""Every test of this folder is marked `faults`; it runs with `make faults` and `make check`, not with `make test`."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from training import conftest as training

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker("faults")


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def lab() -> SimpleNamespace:
    """The tiny training of tests/training."""
    return SimpleNamespace(
        run=training.run, Stop=training.Stop, Stopping=training.Stopping, weights_of=training.weights_of,
        new_model=training.make_model,
    )  # fmt: skip
