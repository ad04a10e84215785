"""The page of costs is what `crossflare plan --on` says of the paper's recipes today."""

import pytest

from tools.plan_page import PAGE, page, section


def test_the_section_of_a_recipe_is_up_to_date() -> None:
    if not PAGE.is_file():
        pytest.skip("no documentation around the tests")
    text = PAGE.read_text("utf-8")
    for name in ("main", "phi", "mt-size"):
        assert section(name) in text, "run: python -m tools.plan_page"


@pytest.mark.slow
def test_the_page_is_up_to_date() -> None:
    if not PAGE.is_file():
        pytest.skip("no documentation around the tests")
    assert PAGE.read_text("utf-8") == page(), "run: python -m tools.plan_page"
