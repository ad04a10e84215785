import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fake_runs import fake_answers, fake_runs

from crossflare.report.results import Results, collect

SMALL = {"zero-shot": 0.5, "lora": 0.66, "flare": 0.75}


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete run folder, not to be changed."""
    return fake_runs(tmp_path_factory.mktemp("runs") / "whole", SMALL, number=120)


@pytest.fixture(scope="session")
def results(run_dir: Path) -> Results:
    return collect(run_dir)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a small folder to be changed."""
    return lambda **options: fake_runs(tmp_path / "run", **{"methods": SMALL, "number": 60, **options})


@pytest.fixture(scope="session")
def answers_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete run folder of answers to questions, not to be changed."""
    return fake_answers(tmp_path_factory.mktemp("runs") / "answers")


@pytest.fixture
def make_answers(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a small folder of answers to be changed."""
    return lambda **options: fake_answers(tmp_path / "answers", **{"number": 40, **options})
