"""The list of what tests cost: each function in its lane, all its cases together, the dearest first."""

from pathlib import Path

import pytest

import times

TEST = """
import pytest
def test_cheap(): pass
@pytest.mark.parametrize("n", [1, pytest.param(2, marks=pytest.mark.slow), 3])
def test_dear(n): pass
"""


def test_functions_are_in_order_in_their_lanes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 0.0, 2.0, 0.0, 7.0, 0.0, 4.0])  # before and after each of the four cases
    monkeypatch.setattr(times, "spent", lambda: next(clock))
    (tmp_path / "test_costs.py").write_text(TEST)
    plugin = times.Times(tmp_path / "new" / "times.txt")
    options = ["-q", "-p", "no:cacheprovider", "--import-mode=importlib", f"--rootdir={tmp_path}", "--noconftest"]
    assert pytest.main([*options, str(tmp_path / "test_costs.py")], plugins=[plugin]) == 0
    assert [line.split() for line in plugin.path.read_text().splitlines() if line] == [
        ["fast:", "7", "s", "of", "CPU", "time,", "3", "cases", "of", "2", "functions"],
        ["6.00", "4.00", "2", "test_costs.py::test_dear"],
        ["1.00", "1.00", "1", "test_costs.py::test_cheap"],
        ["slow:", "7", "s", "of", "CPU", "time,", "1", "cases", "of", "1", "functions"],
        ["7.00", "7.00", "1", "test_costs.py::test_dear"],
    ]
