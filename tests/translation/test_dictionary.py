"""Laws of the dictionary engine: only words that have an entry change, and the rest of a text stays to the letter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossflare.errors import UserError
from crossflare.translation.engines.dictionary import Dictionary
from crossflare.translation.engines.lexicon import Lexicon, spans
from crossflare.translation.engines.protocol import engine_id

ENTRIES = {
    "terima kasih": "thank you",
    "terima": "receive",
    "kasih": "love",
    "anak": "child",
    "anak-anak": "children",
    "rumah": "house",
    "rumah sakit umum": "general hospital",
    "我": "I",
    "爱": "love",
    "l'eau": "water",
}
ENGINE = Dictionary({("id", "en"): Lexicon(ENTRIES)})


def put(text: str) -> str:
    return ENGINE.translate([text], source="id", target="en")[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("terima kasih, anak!", "thank you, child!"),
        ("Terima kasih", "Thank you"),
        ("TERIMA KASIH", "THANK YOU"),
        ("terima, kasih", "receive, love"),  # no phrase across punctuation
        ("terima\nkasih", "receive\nlove"),  # nor across lines
        ("rumah  sakit umum", "general hospital"),
        ("rumah sakit", "house sakit"),
        ("anak-anak anak-rumah anak-xyz", "children child-house child-xyz"),
        ("  xyz\tRumah \n", "  xyz\tHouse \n"),
        ("我爱", "I love"),
        ("L\u2019eau", "Water"),
        ("ÿ ß ŉ", "ÿ ß ŉ"),
    ],
)
def test_replaces(text: str, expected: str) -> None:
    assert put(text) == expected


@given(st.text())
def test_without_entries_a_text_is_copied(text: str) -> None:
    spaced = Dictionary({("id", "en"): Lexicon({"qqqq": "x"})}).translate([text], source="id", target="en")[0]
    assert spaced.replace(" ", "") == text.replace(" ", "")  # a blank may come between words of scripts without any


@given(st.lists(st.sampled_from(["anak", "rumah", "xyz", "Terima", ", ", " ", "\n", "…", "\u2028"])).map("".join))
def test_what_is_between_words_stays(text: str) -> None:
    single = Dictionary({("id", "en"): Lexicon({"anak": "child", "rumah": "house"})})
    result = single.translate([text], source="id", target="en")[0]
    assert between(result) == between(text)


def between(text: str) -> list[str]:
    edges = [0, *(edge for span in spans(text) for edge in span), len(text)]
    return [text[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True)]


def test_other_pairs_are_refused() -> None:
    with pytest.raises(UserError, match="no lexicon from en to id; it has id to en"):
        ENGINE.translate(["x"], source="en", target="id")
    with pytest.raises(UserError, match="source and target are both 'id'"):
        ENGINE.translate(["x"], source="id", target="id")


def test_identity_follows_the_content() -> None:
    assert engine_id(ENGINE.identity) == engine_id(Dictionary({("id", "en"): Lexicon(dict(ENTRIES))}).identity)
    assert engine_id(ENGINE.identity) != engine_id(Dictionary({("id", "en"): Lexicon({"a": "b"})}).identity)
