"""A label is read out of an answer by three rules, and nothing is guessed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossflare.experiment.prompting.parsing import parse_label

WORDS = ["bad", "good", "very good", "負面", "ดี"]


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("good", 1),
        ("  Good.\n", 1),
        ("**BAD**", 0),
        ("_BAD_", 0),
        ("it is _bad_", 0),
        ("Very good!", 2),
        ("It is very good, not bad", 2),  # the first place; of two there, the longer word
        ("It is bad, not very good", 0),
        ("goodness gracious", -1),
        ("a badly made film", -1),
        ("", -1),
        ("I cannot say.", -1),
        ("答案是負面。", 3),  # written without blanks
        ("หนังดีมาก", 4),
    ],
)
def test_examples(answer: str, label: int) -> None:
    assert parse_label(answer, WORDS) == label


@given(st.sampled_from(range(3)), st.text(st.characters(exclude_categories=["L", "N", "M", "Cs"]), max_size=5))
def test_a_word_with_marks_around_it_is_that_label(label: int, marks: str) -> None:
    assert parse_label(f"{marks}{WORDS[label].upper()}{marks[::-1]}", WORDS) == label


@given(st.text())
def test_any_text_is_a_label_or_none(answer: str) -> None:
    label = parse_label(answer, WORDS)
    assert label == -1 or WORDS[label] in answer.casefold()
