"""Runs whose numbers are in the documentation: `crossflare report` makes all tables again, or says why it cannot."""

import shutil
from pathlib import Path

import pytest

from crossflare.errors import UserError
from crossflare.report import build_report

RESULTS = Path(__file__).parents[2] / "docs" / "results"
RUNS = sorted(path.parent for path in RESULTS.glob("*/spec.yaml"))
pytestmark = pytest.mark.skipif(not RUNS, reason="no documentation around the tests")


def test_there_is_at_least_one_that_can_be_made_again() -> None:
    assert any((run / "predictions").is_dir() for run in RUNS)


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_tables_are_made_again_digit_for_digit(run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run, tmp_path / run.name))
    if not (run / "predictions").is_dir():
        with pytest.raises(UserError, match="its predictions were not kept"):
            build_report(copy)
        return
    (copy / "results.json").unlink()
    build_report(copy)
    for name in ("results.json", "results.csv", "report.md"):
        assert (copy / name).read_bytes() == (run / name).read_bytes(), name
