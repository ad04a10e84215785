"""Laws of splitting: nothing is lost, every blank stays, and no piece is longer than asked."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossflare.errors import UserError
from crossflare.translation.sentences import sentences
from crossflare.translation.translate import BySentence, join, split

MARKED = st.text(st.sampled_from(list("ab.!?。！؟۔।။ \n\r\t\u2028,;、'\"»A1é\u0301\u200d\U0001f600")), max_size=80)
TEXTS = st.one_of(st.text(max_size=60), MARKED)


class Echo:
    identity = {"engine": "echo", "licence": "none"}  # noqa: RUF012

    def __init__(self) -> None:
        self.seen: list[str] = []

    def translate(self, texts: Sequence[str], *, source: str, target: str) -> list[str]:
        self.seen += texts
        return list(texts)


class Counting(Echo):
    max_tokens = 3

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]


def parts(text: str, language: str = "en") -> list[str]:
    return [sentence for sentence, _ in sentences(text, language)]


@given(TEXTS)
@settings(max_examples=400)
def test_sentences_and_their_blanks_are_the_text(text: str) -> None:
    pieces = sentences(text)
    assert "".join(piece + gap for piece, gap in pieces) == text
    assert all(piece == piece.strip() for piece, _ in pieces)
    assert all(piece for piece, _ in pieces[1:])
    assert all(gap == "" or gap.isspace() for _, gap in pieces)


@given(TEXTS, st.integers(1, 12))
@settings(max_examples=400)
def test_pieces_fit_and_join_to_the_text(text: str, budget: int) -> None:
    pieces = split(text, lambda texts: [len(piece) <= budget for piece in texts])
    assert join(pieces, [piece for piece, _ in pieces]) == text
    for piece, _ in pieces:
        # Longer only where one letter is: its marks and joiners cannot be taken from it.
        assert (
            len(piece) <= budget
            or len(split(piece, lambda texts: [len(p) <= 1 for p in texts])) == 1
            or any(ord(sign) > 0x2FF for sign in piece)
        )


@given(st.lists(TEXTS, max_size=4), st.integers(1, 30))
def test_an_engine_that_repeats_gives_the_texts_back(texts: list[str], budget: int) -> None:
    for by in ("sentence", "budget"):
        assert BySentence(Echo(), budget, by).translate(texts, source="en", target="sw") == texts


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("en", "One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("en", "Dr. Smith paid $3.50 to J. R. Doe. He left.", ["Dr. Smith paid $3.50 to J. R. Doe.", "He left."]),
        (
            "en",
            'She said "No." Then (later.) she left... Yes.',
            ['She said "No."', "Then (later.) she left...", "Yes."],
        ),
        ("en", "1. First point. Scored 24. They won.", ["1. First point.", "Scored 24.", "They won."]),
        ("en", "Cats, e.g. Tom, in the U.S. Army vs. dogs. End", ["Cats, e.g. Tom, in the U.S. Army vs. dogs.", "End"]),
        ("de", "Am 3. Oktober kam er. Danach ging er.", ["Am 3. Oktober kam er.", "Danach ging er."]),
        ("es", "¿Qué? ¡No! Sí.", ["¿Qué?", "¡No!", "Sí."]),
        ("ru", "Это было в 1999 г. Потом он ушёл. Всё.", ["Это было в 1999 г. Потом он ушёл.", "Всё."]),
        ("el", "Ναι. Όχι.", ["Ναι.", "Όχι."]),
        ("zh", "你好。再见！真的？“是。”好", ["你好。", "再见！", "真的？", "“是。”", "好"]),
        ("ja", "「はい。」そう。", ["「はい。」", "そう。"]),
        ("ar", "هل هذا؟ نعم. لا", ["هل هذا؟", "نعم.", "لا"]),
        ("ur", "یہ ہے۔ وہ ہے۔", ["یہ ہے۔", "وہ ہے۔"]),
        ("hi", "यह है। वह है।", ["यह है।", "वह है।"]),
        ("my", "ဟုတ်တယ်။ မဟုတ်ဘူး။", ["ဟုတ်တယ်။", "မဟုတ်ဘူး။"]),
        ("am", "ሰላም። ደህና።", ["ሰላም።", "ደህና።"]),
        ("km", "ខ្ញុំទៅ។គាត់មក។", ["ខ្ញុំទៅ។", "គាត់មក។"]),
        ("th", "สวัสดี ลาก่อน", ["สวัสดี ลาก่อน"]),
        ("en", "A title\n\nA text. More\r\nlast", ["A title", "A text.", "More", "last"]),
        ("en", "a\rb\u0085c\u2028d\u2029e", ["a", "b", "c", "d", "e"]),
        ("en", "It was (so). Then no.", ["It was (so).", "Then no."]),
        ("en", "See fig. 3. He said no. Yes.", ["See fig. 3.", "He said no.", "Yes."]),
        ("en", 'She asked "Why?" He left.', ['She asked "Why?"', "He left."]),
        ("en", 'He shouted stop! "and" left. Yes.', ['He shouted stop! "and" left.', "Yes."]),
        ("zh", "真的？!好", ["真的？!", "好"]),
    ],
)
def test_sentences_end_where_a_reader_ends_them(language: str, text: str, expected: list[str]) -> None:
    assert parts(text, language) == expected


def test_long_sentences_break_at_clauses_then_blanks_then_anywhere() -> None:
    engine = Echo()
    text = "the first half of it, and the second half"
    BySentence(engine, 25).translate([text, "word " * 8 + "end", "x" * 40], source="en", target="sw")
    assert engine.seen[:2] == ["the first half of it,", "and the second half"]
    assert engine.seen[2:4] == ["word word word word", "word word word word end"]
    assert engine.seen[4:] == ["x" * 20]  # equal pieces are translated once


def test_the_tokens_of_the_engine_count() -> None:
    engine = Counting()
    text = "a b c. D e f g h i j"
    assert BySentence(engine).translate([text], source="en", target="sw") == [text]
    assert engine.seen[0] == "a b c."
    assert all(count <= 3 for count in engine.count_tokens(engine.seen))


def test_a_blank_comes_between_sentences_of_a_script_without_blanks() -> None:
    assert BySentence(Echo()).translate(["你好。再见。\n\n好。"], source="zh", target="en") == ["你好。 再见。\n\n好。"]
    assert BySentence(Echo()).translate(["你好。再见。"], source="zh", target="ja") == ["你好。再见。"]


def test_letters_stay_whole() -> None:
    engine = Echo()
    BySentence(engine, 3).translate(["e\u0301" * 9], source="en", target="sw")
    assert all(piece[0] == "e" for piece in engine.seen)


def test_joined_pictures_stay_whole() -> None:
    engine, family = Echo(), "\U0001f469\u200d\U0001f469\u200d\U0001f467"
    BySentence(engine, 1).translate([family * 5], source="en", target="sw")
    assert engine.seen == [family]


def test_an_engine_never_sees_blanks() -> None:
    engine = Echo()
    said = BySentence(engine).translate(["  One. Two", " \n", ""], source="en", target="sw")
    assert said == ["  One. Two", " \n", ""]
    assert engine.seen == ["One.", "Two"]


def test_by_budget_texts_that_fit_stay_whole() -> None:
    engine = Echo()
    BySentence(engine, 12, "budget").translate(["A b. C d.", "A b. C d. E f."], source="en", target="sw")
    assert engine.seen == ["A b. C d.", "A b.", "C d.", "E f."]


def test_the_source_s_rules_are_used() -> None:
    engine = Echo()
    text = "Er kam am 3. Oktober."
    for source, seen in (("de", [text]), ("en", ["Er kam am 3.", "Oktober."])):
        engine.seen = []
        BySentence(engine).translate([text], source=source, target="sw")
        assert engine.seen == seen


def test_lost_texts_and_equal_languages_are_refused() -> None:
    class Loses(Echo):
        def translate(self, texts: Sequence[str], *, source: str, target: str) -> list[str]:
            return list(texts)[1:]

    with pytest.raises(RuntimeError, match="expected 2 translations, the engine gave 1"):
        BySentence(Loses()).translate(["One. Two."], source="en", target="sw")
    with pytest.raises(UserError, match="source and target are both 'en'"):
        BySentence(Echo()).translate(["A."], source="en", target="en")


def test_a_line_of_100_kilobytes_comes_back(capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("x" * 100_000, "word, " * 17_000, "\0\x07" * 5000):
        assert BySentence(Echo()).translate([text], source="en", target="sw") == [text]


def test_identity_says_that_it_splits() -> None:
    assert BySentence(Echo()).identity == {**Echo.identity, "split": {"version": 1, "budget": None, "by": "sentence"}}
    with pytest.raises(UserError, match="the budget of a piece of text: expected 1 or more, found 0"):
        BySentence(Echo(), 0)
