"""Laws of the check on aligned texts: real ones pass, and each way to spoil them is named with its numbers."""

import random

import pytest

from crossflare.errors import UserError
from crossflare.translation.engines.precomputed import check_pairs


def pairs(count: int = 200) -> list[tuple[str, str]]:
    pick = random.Random(0)
    texts = [" ".join(["neno"] * pick.randint(1, 60)) for _ in range(count)]
    return [(text, text.replace("neno", "a word")) for text in texts]


def test_aligned_texts_pass_with_a_few_copies_and_gaps() -> None:
    good = pairs()
    check_pairs([*good, *[(text, text) for text, _ in good[:50]], *[(text, "") for text, _ in good[:50]]], "f")
    check_pairs(good[:3], "f")
    check_pairs([("a", "a")], "f")  # a name, or one word: too few to judge
    check_pairs([("a", "b")] * 500, "f")  # lengths without any spread
    check_pairs([("", ""), *good], "f")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda good: [(a, a) for a, _ in good], r"f: 200 of 200 translations are copies of their texts \(100%, at"),
        (
            lambda good: [(a, b * 9) for a, b in good],
            r"has 1[0-9]\.\d+ times the characters of its text \(expected 0\.2",
        ),
        (lambda good: [(a, b[:1]) for a, b in good], r"has 0\.\d+ times the characters"),
        (
            lambda good: [(a, b) for (a, _), (_, b) in zip(good, good[1:] + good[:1], strict=True)],
            r"do not go together \(rank correlation -?0\.\d+, at least 0\.4\): the lines are probably shifted",
        ),
        (lambda good: [(a, " ") for a, _ in good], "f: 200 of 200 texts have an empty translation"),
        (lambda good: [("", b) for _, b in good], r"found 200 empty pair\(s\)"),
        (lambda good: [], r"found 0 empty pair\(s\)"),
    ],
)
def test_each_way_to_spoil_them(spoil, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_pairs(spoil(pairs()), "f")
