"""Texts against the language that they are said to be, by a stand-in of py3langid; and by the package, where it is."""

import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from crossflare.inspection.found import Look
from crossflare.inspection.looker import Looker, Share
from crossflare.inspection.remarks import warnings_of
from crossflare.inspection.show import parts_sheet
from crossflare.languages import identify
from crossflare.libraries import guard
from crossflare.tasks.example import Example

STAND_IN = '''
MODEL_FILE = "model"

class LanguageIdentifier:
    """Knows a language by its letter: `a` of sw, `b` of jv, `c` of en; two codes for one."""

    @classmethod
    def from_model_file(cls, file, norm_probs=False):
        assert file == MODEL_FILE and norm_probs
        return cls()

    def rank(self, text):
        letters = {"swh": "a", "jv": "b", "en": "c"}
        total = max(1, sum(map(str.isalpha, text)))
        shares = {code: text.count(letter) / total for code, letter in letters.items()}
        return sorted(shares.items(), key=lambda each: -each[1])
'''
SWAHILI, JAVANESE = "a" * identify.LETTERS, "b" * identify.LETTERS


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    for cached in (identify.identifier, guard.name):
        cached.cache_clear()
    yield
    for cached in (identify.identifier, guard.name):
        cached.cache_clear()


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "py3langid").mkdir()
    (tmp_path / "py3langid" / "__init__.py").write_text("")
    (tmp_path / "py3langid" / "langid.py").write_text(STAND_IN)
    for name in ("py3langid", "py3langid.langid"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in ("py3langid", "py3langid.langid"):
        sys.modules.pop(name, None)


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crossflare.libraries.py3langid.find_spec", lambda name: None)


def look(language: str, *texts: str) -> Look:
    rows = [Example(str(n), (text,), 0, origin=f"in.csv:{n + 2}") for n, text in enumerate(texts)]
    looker = Looker("trial", ["one"], False, "en")
    looker.read([Share(language, "train", lambda: rows)])
    return looker.found()


def counts(found: Look) -> tuple[int, int]:
    return found.parts[0].judged, found.parts[0].foreign


def foreign(found: Look) -> list[str]:
    return [line for line in warnings_of(found) if "do not look like" in line]


@pytest.mark.usefixtures("stand_in")
def test_rows_of_another_language_are_counted_and_warned_of_above_a_bound() -> None:
    found = look("sw", *[SWAHILI] * 12, *[JAVANESE] * 8, "bbb")
    assert counts(found) == (20, 8)  # a short text is left out
    (line,) = foreign(found)
    assert line.startswith("sw train: 40.0 % of the texts do not look like Swahili: most of them look like Javanese")
    assert "the first is in.csv:14" in line
    assert "40.0 %" in parts_sheet(found).rows[0]
    assert foreign(look("sw", *[SWAHILI] * 95, *[JAVANESE] * 5)) == []


@pytest.mark.usefixtures("stand_in")
def test_a_close_language_is_not_another_one() -> None:
    mixed = "a" * 5 + "b" * (identify.LETTERS - 5)  # its own has more than a tenth
    assert counts(look("sw", *[mixed] * 10)) == (10, 0)


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("language", ["su", "sw-Arab"])
def test_a_language_that_it_does_not_know_is_named_and_not_judged(language: str) -> None:
    found = look(language, *[JAVANESE] * 10)
    assert counts(found) == (0, 0)
    assert f"the language identifier does not know {language}" in parts_sheet(found).legend
    assert foreign(found) == []


@pytest.mark.usefixtures("absent")
def test_without_the_package_nothing_is_said() -> None:
    found = look("sw", *[JAVANESE] * 10)
    assert counts(found) == (0, 0)
    assert found.languages[0].identified is None
    assert "identifier" not in parts_sheet(found).legend


@pytest.mark.usefixtures("absent")
def test_a_look_that_was_kept_before_there_was_an_identifier_is_read() -> None:
    values: dict[str, Any] = look("sw", SWAHILI).values()
    for part in values["parts"]:
        for name in ("judged", "foreign", "foreign_at", "foreign_as"):
            del part[name]
    for language in values["languages"]:
        del language["identified"]
    assert Look.of(values, "look.json").parts[0].judged == 0


@pytest.mark.skipif(find_spec("py3langid") is None, reason="needs the extra language-id")
def test_the_package_tells_swahili_from_english() -> None:
    swahili = "Watoto wote wanapenda kucheza mpira wa miguu baada ya shule kila siku"
    english = "All the children like to play football after school every single day"
    assert counts(look("sw", swahili)) == (1, 0)
    assert counts(look("sw", english)) == (1, 1)
    assert identify.knows("ace-Arab") is False
