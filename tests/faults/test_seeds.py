"""Seeds that once found a fault, and the first of each part, find none now."""

import json
from pathlib import Path

import pytest

from faults.campaign import PARTS
from lanes import only

STATE = Path(__file__).parents[2] / "docs" / "results" / "reliability.json"
FOUND = json.loads(STATE.read_text(encoding="utf-8"))["found"] if STATE.is_file() else []
CASES = [*((each["part"], each["seed"]) for each in FOUND), *((name, 0) for name in PARTS)]
QUICK = [(name, 0) for name in ("rows", "questions", "adapters", "translation, shot")]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("part", "seed"), only(list(dict.fromkeys(CASES)), QUICK))
def test_no_fault_is_found(tmp_path: Path, part: str, seed: int) -> None:
    assert PARTS[part][0](tmp_path)(seed).total()
