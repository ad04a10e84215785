"""The page that lists what a recipe may say is what the tables and annotations say."""

import pytest

from tools.recipe_page import PAGE, page


def test_the_page_is_up_to_date() -> None:
    if not PAGE.is_file():
        pytest.skip("no documentation around the tests")
    assert PAGE.read_text("utf-8") == page(), "run: python -m tools.recipe_page"
