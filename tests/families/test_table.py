"""docs/models.md says what the tests show: its table is `table.py`, and every "yes" is a case of a test."""

import importlib.util
from typing import Any

import pytest

from families.table import BEHIND, COLUMNS, PAGE, TESTS, WRITERS, WRITTEN, YES, markdown, page, table
from family_models import FAMILIES


def cases(test: str) -> list[tuple[Any, ...]]:
    """Return the (family, task) pairs with which a test is called."""
    path, _, name = test.partition("::")
    spec = importlib.util.spec_from_file_location(path.replace("/", "_"), TESTS.parent / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: list[tuple[Any, ...]] = []
    for mark in getattr(module, name).pytestmark:
        if mark.name == "parametrize" and mark.args[0][:2] == ("name", "task"):
            found += [tuple(getattr(case, "values", case))[:2] for case in mark.args[1]]
        if mark.name == "parametrize" and mark.args[0] == ("family", "kind"):  # the laws of writing, by other names
            for name in {WRITERS[case.values[0]] for case in mark.args[1] if case.values[0] in WRITERS}:
                found += [(name, task) for task in FAMILIES[name].heads if task in WRITTEN]
    return found


@pytest.mark.skipif(not PAGE.is_file(), reason="no documentation around the tests")
def test_the_page_is_the_table() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert page(text) == text, "run python tests/families/table.py"
    assert markdown() in text
    with pytest.raises(AssertionError, match="lost the marks"):
        page("no marks")


@pytest.mark.parametrize("column", COLUMNS)
def test_every_yes_has_its_test(column: str) -> None:
    yes = {(row.family, row.task) for row in table() if row.cells[column] == YES}
    tested = set(cases(BEHIND[column])) if BEHIND[column] else set()
    assert yes <= tested
    if column != "torch.compile":
        assert tested <= yes  # and no tested cell is left out
