"""The table of docs/reliability.md is true: the tests it names exist, every number has one, the page is as written."""

import json
import re
from pathlib import Path

import pytest

from faults.page import DEMANDS, FIGURES, page

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent


def test_every_number_has_tests_that_exist() -> None:
    demands = {number: tests for group in DEMANDS.values() for number, (_, tests) in group.items()}
    assert list(demands) == list(range(1, 55))
    for tests in demands.values():
        assert tests
        for name in tests:
            file, _, function = name.partition("::")
            assert re.search(rf"^def {function}\(", (TESTS / file).read_text(encoding="utf-8"), re.MULTILINE), name


def test_the_page_is_as_it_would_be_written() -> None:
    if not (ROOT / "docs").is_dir():
        pytest.skip("no documentation around the tests")
    state = json.loads((ROOT / "docs/results/reliability.json").read_text(encoding="utf-8"))
    assert (ROOT / "docs/reliability.md").read_text(encoding="utf-8") == page(state)
    assert set(state["parts"]) <= set(FIGURES)
