"""What the checks see, and what they must not see."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossflare.errors import UserError
from crossflare.translation.quality import Flag, clean_rows, count_flags, find_flags, measure

LONG = "the house on the hill was sold in the spring of the year"


@pytest.mark.parametrize(
    ("source", "output", "target", "flags"),
    [
        ("Good morning to you", "Habari za asubuhi", "sw", set()),
        ("Good morning to you", "", "sw", {Flag.EMPTY}),
        ("Good morning to you", " \n", "sw", {Flag.EMPTY}),
        ("", "", "sw", set()),
        (" \n", " \n", "sw", set()),
        ("Good morning to you", "good  morning to you", "sw", {Flag.COPIED}),
        ("Barack Obama", "Barack Obama", "sw", set()),
        ("Good morning to you", "Доброе утро", "sw", {Flag.WRONG_SCRIPT}),
        ("Good morning to you", "Доброе утро", "ru", set()),
        ("Good morning to you", "Доброе утро", "sr-Latn", {Flag.WRONG_SCRIPT}),
        ("Good morning to you", "早上好", "zh", set()),
        ("Good morning to you", "おはようございます", "ja", set()),
        ("Good morning to you", "good morrow", "hi", {Flag.WRONG_SCRIPT}),
        (LONG, "nyumba nyumba nyumba nyumba iliuzwa kilimani mwaka", "sw", {Flag.REPETITION}),
        (LONG, "iliuzwaaaaaaaaaaaa nyumba kilimani mwaka huo", "sw", {Flag.REPETITION}),
        ("ha ha ha ha ha ha, said the man", "ha ha ha ha ha ha, alisema", "sw", set()),
        (LONG, "nyumba", "sw", {Flag.LENGTH}),
        ("A house", LONG, "sw", {Flag.LENGTH}),
        (LONG, "山上的房子在今年春天卖掉了", "zh", set()),
        ("In 1998 it had 1,250.5 tons", "Mwaka 1998 ilikuwa na tani 1.250,5", "sw", set()),
        ("In 1998 it had 25 tons", "Mwaka 1998 ilikuwa na tani", "sw", {Flag.NUMBERS}),
        ("It had 3 tons", "Ilikuwa na tani tatu", "sw", set()),
        ("In 1998 it was so", "यह १९९८ में था", "hi", set()),
    ],
)
def test_flags(source: str, output: str, target: str, flags: set[Flag]) -> None:
    assert find_flags(source, output, "en", target) == flags


@given(st.text(max_size=60), st.text(max_size=60), st.sampled_from(["en", "zh", "ar", "am", "qaa"]))
def test_any_text_can_be_checked(source: str, output: str, language: str) -> None:
    assert find_flags(source, output, "sw", language) <= set(Flag)


def test_counts_and_the_filter_agree() -> None:
    sources, outputs = ["a b c", "d e f", "g"], ["a b c", "x y z", ""]
    flags = [find_flags(source, output, "en", "sw") for source, output in zip(sources, outputs, strict=True)]
    counts = count_flags(flags)
    assert counts["rows"] == 3
    assert counts["flagged"] == 2
    assert counts["copied"] == counts["empty"] == 1
    assert counts["numbers"] == 0
    assert clean_rows(flags) == [1]
    assert clean_rows(flags, [Flag.EMPTY]) == [0, 1]


def test_a_long_line_is_checked_in_time() -> None:
    assert find_flags("w " * 50_000, "".join(map(str, range(20_000))), "en", "sw") is not None


def test_scores_of_sacrebleu() -> None:
    pytest.importorskip("sacrebleu")
    same = measure([LONG], [LONG], "en")
    assert same.bleu == pytest.approx(1)
    assert same.chrf == pytest.approx(1)
    assert "tok:13a" in same.signatures[0]
    assert measure(["xyz"], [LONG], "en").chrf < 0.1
    assert "tok:zh" in measure(["好"], ["好"], "zh").signatures[0]
    with pytest.raises(UserError, match="as many translations as references, one or more, found 1 and 0"):
        measure(["a"], [], "en")
