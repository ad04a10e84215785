"""Which engine can do a pair: by its own table, and never by another language."""

from pathlib import Path

import pytest

from crossflare.errors import UserError
from crossflare.translation.engines.coverage import FAMILIES, split_pair, ways


def test_direct_ways_and_pivots(tmp_path: Path) -> None:
    found = {way.engine: way for way in ways("en", "oc", modes=str(tmp_path)) if way.via in (None, "es")}
    assert all(found[name].direct for name in ("nllb", "m2m100", "madlad"))
    assert (found["nllb"].source, found["nllb"].target) == ("eng_Latn", "oci_Latn")
    assert not found["mbart"].works
    assert found["mbart"].note == "does not have Occitan"
    assert not found["apertium"].direct
    assert (found["apertium"].via, found["apertium"].note) == ("es", "apt install apertium-eng-spa apertium-oc-es")


def test_an_installed_pivot_comes_first(tmp_path: Path) -> None:
    for name in ("eng-spa", "spa-cat"):
        (tmp_path / f"{name}.mode").write_text("cat\n")
    (first, *_) = ways("en", "ca", "apertium", str(tmp_path))
    assert (first.direct, first.note) == (True, "apt install apertium-eng-cat")
    (first, *rest) = ways("en", "an", "apertium", str(tmp_path))
    assert {first.via, *(way.via for way in rest)} >= {"es"}


def test_ways_that_lead_nowhere_are_last_and_say_why() -> None:
    found = ways("bbc", "en")
    assert [way.works for way in found] == sorted([way.works for way in found], reverse=True)
    notes = {way.engine: way.note for way in found if not way.works}
    assert notes["nllb"] == "does not have Toba Batak"
    assert next(way for way in found if way.engine == "madlad").direct
    assert [way.engine for way in ways("sw", "en", "nllb")] == ["nllb"]
    assert {way.engine for way in ways("sw", "en", "ctranslate2")} == {*FAMILIES, "marian"}


@pytest.mark.parametrize(
    ("pair", "tags"),
    [
        ("en-oc", ("en", "oc")),
        ("zh-Hant-en", ("zh-Hant", "en")),
        ("eng_Latn:swh", ("en", "sw")),
        ("sw-en", ("sw", "en")),
    ],
)
def test_pairs(pair: str, tags: tuple[str, str]) -> None:
    assert split_pair(pair) == tags


@pytest.mark.parametrize(
    ("pair", "message"),
    [("en", "expected two languages, as in en-oc; found one"), ("en-swahilli", "expected two languages, .* Swahili")],
)
def test_no_pairs(pair: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        split_pair(pair)


def test_mistakes() -> None:
    with pytest.raises(UserError, match="unknown translation engine 'nlb': did you mean 'nllb'"):
        ways("en", "sw", "nlb")
    with pytest.raises(UserError, match="source and target are both 'sw'"):
        ways("sw", "swh_Latn")
