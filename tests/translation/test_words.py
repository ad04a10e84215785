"""What a word is, in many scripts."""

import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossflare.translation.engines.lexicon import fold, spans, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, world!", ["hello", "world"]),
        ("don't L\u2019EAU 'quoted'", ["don't", "l'eau", "quoted"]),
        ("anak-anak - ya", ["anak-anak", "ya"]),
        ("हिन्दी में", ["हिन्दी", "में"]),  # vowel signs and the virama are combining marks
        ("can\u0303ón", ["cañón"]),
        ("我爱你", ["我", "爱", "你"]),
        ("ab我cd", ["ab", "我", "cd"]),
        ("ที่นี่", ["ที่", "นี่"]),
        ("3.5 kg_2", ["3", "5", "kg_2"]),
        ("می\u200cروم", ["می\u200cروم"]),
        ("", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@given(st.text())
def test_spans_are_in_order_and_leave_no_letter_out(text: str) -> None:
    places = spans(text)
    assert all(end > start for start, end in places)
    assert all(a[1] <= b[0] for a, b in pairwise(places))
    inside = {index for start, end in places for index in range(start, end)}
    assert all(unicodedata.category(sign)[0] != "L" for index, sign in enumerate(text) if index not in inside)


@given(st.text())
def test_folding_twice_is_folding_once(text: str) -> None:
    assert fold(fold(text)) == fold(text)
