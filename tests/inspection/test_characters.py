"""Scripts, Unicode forms and signs that nobody sees are found where they are, and nowhere else."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossflare.inspection.counting import TextTally

ODD = ("decomposed", "hidden", "control", "mixed", "romanised", "other_script")


def kinds(language: str, *texts: str) -> set[str]:
    made = TextTally(language)
    made.add(texts, "file:2")
    assert all(place == "file:2" for place in made.first.values())
    return set(made.found)


CASES = [
    ("es", "El niño comió", set()),
    ("es", unicodedata.normalize("NFD", "El niño comió"), {"decomposed"}),
    ("es", "El ni\u200bño", {"hidden"}),
    ("en", "one\ufefftwo", {"hidden"}),
    ("en", "one\u200dtwo", {"hidden"}),
    ("en", "a \U0001f468\u200d\U0001f469\u200d\U0001f467 b", set()),
    ("fa", "می\u200cخواهم", set()),
    ("hi", "क्\u200dष", set()),
    ("en", "one\x07two", {"control"}),
    ("en", "one\ufffdtwo", {"control"}),
    ("en", "one\ttwo\r\nthree", set()),
    ("am", "ሰላም ለዓለም", set()),
    ("am", "selam lealem", {"romanised"}),
    ("am", "Привет мир", {"other_script"}),
    ("am", "ሰላም ለዓለም hello", {"mixed"}),
    ("ja", "東京へ行きました", set()),
    ("sw", "Habari ya 2024, saa 7!", set()),
    ("sw", "حبري يا دنيا", {"other_script"}),
    ("hi", "क ab", set()),
    ("en", "12:30 :-) \u2764", set()),
    ("ace-Arab", "sunoe padum", {"romanised"}),
]


@pytest.mark.parametrize(("language", "text", "found"), CASES)
def test_what_a_text_shows(language: str, text: str, found: set[str]) -> None:
    assert kinds(language, text) == found


TEXT = st.text(st.sampled_from("ab Z\n\té\u0301n\u0303ñ\u200b\u200dсሰ漢한क़\x07\u2028"), max_size=12)


@given(st.lists(st.tuples(TEXT, TEXT), max_size=8))
def test_counts_are_those_of_a_plain_count(rows: list[tuple[str, str]]) -> None:
    made = TextTally("en")
    for number, texts in enumerate(rows):
        made.add(texts, f"file:{number}")
    joined = ["\n".join(texts) for texts in rows]
    assert made.rows == len(rows)
    assert made.characters == sum(len(one) + len(two) for one, two in rows)
    assert made.words == sum(len(text.split()) for text in joined)
    nfc = [unicodedata.normalize("NFC", text) == text for text in joined]
    assert made.found["decomposed"] == nfc.count(False)
    assert made.composed == sum(ok and unicodedata.normalize("NFD", t) != t for ok, t in zip(nfc, joined, strict=True))
    assert set(made.found) <= set(ODD)


def test_the_script_of_a_language_is_that_of_its_letters() -> None:
    made = TextTally("ja")
    made.add(("ひらがな", "漢字"), "file:2")
    assert made.script[1] == 1.0
    other = TextTally("ru")
    other.add(("да yes",), "file:2")
    assert other.script == ("Latin", 0.6)
