"""Every interval on the page of advice stands on a page of results, next to the same difference."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
NUMBER = r"[+-]?\d+(?:\.\d+)?"


def plain(path: Path) -> str:
    """Return a page with plain minus signs, on one line, without bold."""
    return " ".join(path.read_text("utf-8").replace("−", "-").replace("**", "").split())


PAGES = "\n".join(plain(path) for path in sorted((DOCS / "results").glob("*.md")))


def differences(text: str) -> list[tuple[str, str]]:
    """Return each interval of a text with the last number before it."""
    found = []
    for interval in re.finditer(rf"\[{NUMBER}, {NUMBER}\]", text):
        before = re.findall(r"(?<![\w.])[+-]?\d+\.\d+(?![\w%])", text[: interval.start()])
        found.append((before[-1], interval[0]))
    return found


def stands(value: str, interval: str, pages: str) -> bool:
    """Return whether a page has this difference with this interval, in either direction's sign."""
    bare = re.escape(value.lstrip("+-"))
    return re.search(rf"{bare}(?![\d.])[^\[\]|]{{0,60}}{re.escape(interval)}", pages) is not None


@pytest.mark.parametrize(("value", "interval"), differences(plain(DOCS / "which-method.md")))
def test_every_number_of_the_advice_is_among_the_results(value: str, interval: str) -> None:
    assert stands(value, interval, PAGES), f"{value} {interval} stands on no page of docs/results"


def test_a_number_that_was_never_measured_is_found_out() -> None:
    assert len(differences(plain(DOCS / "which-method.md"))) > 15
    assert not stands("+7.4", "[+4.8, +10.4]", PAGES)
    assert not stands("+7.5", "[+4.8, +10.3]", PAGES)
