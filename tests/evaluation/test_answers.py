"""Exact match and F1: the official scripts' numbers, a slow reference, values by hand, and the authors' own measure."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossflare.errors import UserError
from crossflare.evaluation.answers import ARTICLES, SIGNS, exact_match, f1, normaliser, position_match, score_answers
from crossflare.tasks.example import Answer, Example
from reference import slow_answers

# What SQuAD's evaluate-v1.1.py and MLQA's mlqa_evaluation_v1.py (commit 5ef5c731) print for these predictions.
OFFICIAL = [
    ("squad", "en", "the Eiffel Tower, in Paris", ["Eiffel Tower", "an Eiffel  tower in paris."], 1.0, 1.0),
    ("squad", "en", "a cat and the cat", ["cat cat dog", "bird"], 0.0, 2 / 3),
    ("squad", "en", "The", ["the"], 1.0, 0.0),
    ("squad", "en", "The", ["an"], 1.0, 0.0),
    ("squad", "en", "1,000 km", ["1000 km", "1000"], 1.0, 1.0),
    ("squad", "en", "“Quoted”", ["Quoted"], 0.0, 0.0),
    ("squad", "sw", "mwaka wa 1961", ["1961", "tarehe 9 Desemba 1961"], 0.0, 0.5),
    ("squad", "te", "క్రీ.శ. 1336 లో", ["1336 లో"], 0.0, 0.8),
    ("squad", "bn", "১৯৫২ সালে।", ["১৯৫২ সালে"], 0.0, 0.5),
    ("mlqa", "en", "the “Eiffel” Tower", ["Eiffel tower"], 1.0, 1.0),
    ("mlqa", "es", "la ciudad de las Palmas", ["Ciudad de Palmas", "¿Las Palmas?"], 1.0, 1.0),
    ("mlqa", "es", "el río", ["un río grande"], 0.0, 2 / 3),
    ("mlqa", "de", "der Bundeskanzler des Landes", ["Bundeskanzler Landes", "die Kanzlerin"], 1.0, 1.0),
    ("mlqa", "de", "„Einen“ Tag", ["den Tag danach"], 0.0, 2 / 3),
    ("mlqa", "vi", "cái nhà của tôi", ["nhà tôi", "những ngôi nhà"], 1.0, 1.0),
    ("mlqa", "hi", "भारत की राजधानी।", ["भारत की राजधानी", "दिल्ली"], 1.0, 1.0),
    ("mlqa", "ar", "الملك فيصل", ["ملك", "فيصل"], 0.0, 2 / 3),
    ("mlqa", "ar", "رجال المدينة", ["رج مدينة"], 1.0, 1.0),
    ("mlqa", "ar", "ما، هي؟", ["ما هي"], 1.0, 1.0),
    ("mlqa", "zh", "北京市", ["北京", "上海市北京"], 0.0, 0.8),
    ("mlqa", "zh", "《红楼梦》1791年", ["红楼梦 1791 年"], 1.0, 1.0),
    ("mlqa", "zh", "iPhone 手机", ["iphone手机", "手机iPhone X"], 1.0, 1.0),
    ("mlqa", "zh", "", ["北京"], 0.0, 0.0),
    ("mlqa", "zh", "X龥京", ["x 龥 京"], 1.0, 1.0),
    ("mlqa", "zh", "京\u0301市", ["京 \u0301 市"], 1.0, 1.0),
    ("mlqa", "en", "$5 + 3", ["5 3"], 1.0, 1.0),
    ("squad", "de", "Straße", ["strasse"], 0.0, 0.0),
]


@pytest.mark.parametrize(("style", "language", "prediction", "golds", "match", "overlap"), OFFICIAL)
def test_the_official_scripts_numbers(style, language, prediction, golds, match, overlap) -> None:
    normalise = normaliser(style, language)
    assert exact_match(prediction, golds, normalise) == match
    assert f1(prediction, golds, normalise) == overlap
    assert slow_answers.scores(prediction, golds, style, language) == (match, overlap)


WORDS = "the The An a tower Tower 's el las der của ال ملك । “ ؟ - _ the_end ﬁ İ 北京 市 é 👍 1961 c'est x.y"
pieces = st.lists(st.sampled_from([*WORDS.split(), *" \t\n\u00a0\u3000"]), max_size=7).map("".join)


@settings(max_examples=400)
@given(
    prediction=pieces | st.text(max_size=8),
    golds=st.lists(pieces | st.text(max_size=8), min_size=1, max_size=3),
    style=st.sampled_from(["squad", "mlqa"]),
    language=st.sampled_from([*ARTICLES, "zh", "hi", "sw", "ro"]),
)
def test_the_slow_reference(prediction: str, golds: list[str], style: str, language: str) -> None:
    normalise = normaliser(style, language)
    expected = slow_answers.scores(prediction, golds, style, language)
    assert (exact_match(prediction, golds, normalise), f1(prediction, golds, normalise)) == expected


@pytest.mark.parametrize(
    ("language", "text", "words"),
    [
        ("th", "ที่กรุงเทพ 2475!", ["ที่", "ก", "รุ", "ง", "เ", "ท", "พ", "2475"]),
        ("ja", "東京タワー3", ["東", "京", "タ", "ワ", "ー", "3"]),
        ("km", "ភ្នំ", ["ភ្", "នំ"]),
        ("lo", "ລາວ", ["ລ", "າ", "ວ"]),
        ("my", "ရန်", ["ရ", "န်"]),
        ("zh-Hant", "台北 Taipei", ["台", "北", "taipei"]),
        ("sw", "Mji wa «Dodoma».", ["mji", "wa", "dodoma"]),
        ("EN-GB", "The End", ["end"]),
    ],
)
def test_languages_beyond_the_script(language: str, text: str, words: list[str]) -> None:
    assert normaliser("mlqa", language)(text).split() == words


def test_signs_are_split_in_the_languages_that_are_said_to_be() -> None:
    assert set(SIGNS) == {"zh", "ja", "th", "lo", "my", "km"}
    with pytest.raises(UserError, match="unknown way to compare answers 'squadd': did you mean 'squad'"):
        normaliser("squadd", "en")


def question(key: str, *golds: str) -> Example:
    return Example(key, ("q", "c"), origin="dev.json:7", answers=tuple(Answer(gold) for gold in golds))


def test_every_question_is_scored_by_hand() -> None:
    examples = [question("a", "red house", "house"), question("b", "green"), question("c", "the tree")]
    scores = score_answers(["a house", "", "tree top"], examples, normaliser("squad", "en"))
    assert scores.exact_match.tolist() == [1, 0, 0]
    assert scores.f1.tolist() == pytest.approx([1, 0, 2 / 3])


def test_what_cannot_be_scored_is_refused() -> None:
    normalise = normaliser("squad", "en")
    with pytest.raises(UserError, match="one answer per question, got 1 for 2"):
        score_answers(["a"], [question("a", "x"), question("b", "y")], normalise)
    with pytest.raises(UserError, match="at least one question"):
        score_answers([], [], normalise)
    with pytest.raises(UserError, match=r"dev\.json:7: question 'b' has no gold answer"):
        score_answers(["a", "b"], [question("a", "x"), question("b")], normalise)


def test_the_authors_measure_takes_a_cut_off_answer_for_a_hit() -> None:
    predicted, labelled = [[3, 4], [0, 0], [3, 5]], [[3, 4], [0, 0], [3, 4]]
    assert position_match(predicted, labelled).tolist() == [1, 1, 0]
    assert position_match(predicted, labelled).dtype == np.float64
    with pytest.raises(UserError, match=r"two arrays of \[N,2\] positions, got \[2\] and \[3, 2\]"):
        position_match([3, 4], labelled)
