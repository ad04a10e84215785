"""Laws of projection: a span is where the result says, and a way that fails says so."""

import difflib
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crossflare.errors import UserError
from crossflare.tasks.example import Answer, Example
from crossflare.translation.engines.hf import Transformers
from crossflare.translation.projection.project import project, project_answers
from crossflare.translation.projection.search import MARKERS, mark, markers_for, search, similarity, unmark
from crossflare.translation.projection.spans import (
    Labelled,
    Span,
    StatesAligner,
    Way,
    carry_span,
    count_yield,
    links,
    word_of_pieces,
)

WORDS = {"the": "the", "red": "nyekundu", "house": "nyumba", "dog": "mbwa", "ate": "alikula", "fish": "samaki"}


def translate(texts):
    """Word by word, marks untouched, adjectives behind their nouns."""
    done = []
    for text in texts:
        for english, swahili in WORDS.items():
            text = text.replace(english, swahili)
        done.append(text.replace("nyekundu nyumba", "nyumba nyekundu"))
    return done


def labelled(text: str, *parts: str) -> Labelled:
    return Labelled(text, tuple(Span(text.index(part), text.index(part) + len(part), part[:1]) for part in parts))


letters = st.text(st.sampled_from(list("ab c\u0301.é好")), max_size=30)


@given(letters, st.data(), st.sampled_from(sorted(MARKERS)))
@settings(max_examples=300)
def test_marks_that_come_through_lead_back_to_text_and_spans(text, data, name):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pairs = [(a, b) for a, b in zip(cuts[::2], cuts[1::2], strict=False) if text[a:b].strip()]
    row = Labelled(text, tuple(Span(a, b) for a, b in data.draw(st.permutations(pairs))))
    marker = MARKERS[name]
    if not marker.can_mark(row):
        assert not row.spans or name == "quotes" or any(left is not right for left in row.spans for right in row.spans)
        return
    found = unmark(mark(row, marker), row, marker)
    assert found is not None
    clean, spans = found
    assert [clean[span.start : span.end] for span in spans] == [part.strip() for part in row.texts()]
    if all(part == part.strip() for part in row.texts()):
        assert (clean, spans) == (text, row.spans)


@pytest.mark.parametrize(
    "translation",
    ["no marks", "one [ only", "[a] and [b]", "]a[", "[ ]", "[[a]", "a [b] c]", "[a"],
)
def test_marks_that_were_lost_doubled_or_turned_are_refused(translation):
    assert unmark(translation, labelled("x y", "x"), MARKERS["brackets"]) is None


def test_blanks_inside_the_marks_move_outside():
    row = labelled("x y", "x")
    assert unmark("the[ red house ]ate", row, MARKERS["brackets"]) == ("the red house ate", (Span(4, 13, "x"),))


def test_tags_tell_spans_apart_when_they_change_places():
    row = labelled("red house", "red", "house")
    marked = mark(row, MARKERS["tags"])
    assert marked == "<a>red</a> <b>house</b>"
    text, spans = unmark("<b>nyumba</b> <a>nyekundu</a>", row, MARKERS["tags"])
    assert [text[span.start : span.end] for span in spans] == ["nyekundu", "nyumba"]
    assert not MARKERS["brackets"].can_mark(row)  # equal marks, unequal labels
    assert not MARKERS["tags"].can_mark(Labelled("abc", (Span(0, 2), Span(1, 3))))
    assert not MARKERS["brackets"].can_mark(labelled("a [b] c", "a"))


def test_marks_go_with_the_engine():
    assert [marker.name for marker in markers_for({"engine": "apertium"})] == ["brackets", "quotes"]
    assert markers_for({"engine": "transformers"})[0].name == "tags"


@given(st.text("abcé", max_size=9), st.text("abcé", max_size=9))
@settings(max_examples=300)
def test_similarity_is_that_of_the_textbook(a, b):
    rows = [list(range(len(b) + 1))]
    for i, x in enumerate(a, 1):
        rows.append([i])
        for j, y in enumerate(b, 1):
            rows[i].append(min(rows[i - 1][j] + 1, rows[i][j - 1] + 1, rows[i - 1][j - 1] + (x != y)))
    assert similarity(a, b) == pytest.approx(1 - rows[-1][-1] / max(len(a), len(b), 1))
    assert similarity(a, b) == similarity(b, a)
    assert difflib.SequenceMatcher(None, a, b).ratio() >= 0


def test_the_window_most_like_the_answer_is_found():
    text = "mbwa alikula samaki, mbwa alilala"
    assert search("alikula samaki", text, 0.5) == Span(5, 19)
    assert search("amekula samaki", text, 0.5) == Span(5, 19)
    assert search("mbwa", text, 0.9) == Span(21, 25)
    assert search("mbwa", text, 0.0) == Span(0, 4)
    assert search("tofauti kabisa", text, 0.5) is None
    assert search("", text, 0.5) is None


def reference_links(scores):
    found = []
    for i in range(scores.shape[0]):
        for j in range(scores.shape[1]):
            row, column = scores[i], scores[:, j]
            if scores[i, j] > 0 and list(row).index(max(row)) == j and list(column).index(max(column)) == i:
                found.append((i, j))
    return found


@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 99))
def test_links_are_mutual_choices(count, other, seed):
    scores = np.random.default_rng(seed).integers(0, 4, (count, other)).astype(float)
    assert links(scores, diagonal=0.0) == reference_links(scores)


def test_words_are_carried_over_from_the_first_to_the_last():
    text, translation = "the red house", "nyumba nyekundu hii"
    assert carry_span(text, Span(4, 13), translation, [(1, 1), (2, 0)]) == Span(0, 15)
    assert carry_span(text, Span(4, 13), translation, [(0, 2)]) is None
    far = " ".join(["a"] * 40)
    assert carry_span(text, Span(4, 13), far, [(1, 0), (2, 39)]) is None


class ByWords:
    """An aligner that knows the words of WORDS, and that a word in both texts is the same one."""

    def scores(self, source, target):
        pairs = [[a == b or WORDS.get(a) == b for b in re.findall(r"\w+", target)] for a in re.findall(r"\w+", source)]
        return np.array(pairs, dtype=float)


class Encoder:
    """States that depend on the letters alone; words are cut in two pieces."""

    def pieces(self, texts, source):
        return [
            ["swh_Latn", *(p for w in t.split() for p in ("\u2581" + w[:2], w[2:]) if p.strip("\u2581")), "</s>"]
            for t in texts
        ]

    def encode(self, texts, source):
        generator = lambda piece: torch.Generator().manual_seed(sum(map(ord, piece.strip("\u2581"))))  # noqa: E731
        return [
            torch.stack([torch.randn(32, generator=generator(p)) for p in row]) for row in self.pieces(texts, source)
        ]


def test_states_of_sub_words_are_merged_and_aligned():
    encoder = Encoder()
    assert word_of_pieces("red house, dog", ["<s>", "▁re", "d", "▁hou", "se", ",", "▁dog", "</s>"]) == [
        None, 0, 0, 1, 1, None, 2, None,
    ]  # fmt: skip
    aligner = StatesAligner(encoder, "en", "sw")
    assert links(aligner.scores("house green dog", "dog house green"), diagonal=0.0) == [(0, 1), (1, 2), (2, 0)]


def test_each_row_says_which_way_worked():
    rows = [
        labelled("the dog ate fish", "dog"),
        labelled("a [x] dog ate fish", "fish"),  # its own brackets: no marks
        labelled("[?] unknowable dog", "unknowable"),
        Labelled("no span", ()),
    ]
    done = project(
        rows, translate, markers=[MARKERS["brackets"]], aligner=ByWords(), ways=["markers", "alignment", "fuzzy"]
    )
    assert [row.ways for row in done] == [(Way.MARKERS,), (Way.ALIGNMENT,), (Way.ALIGNMENT,), ()]
    assert [row.text[row.spans[0].start : row.spans[0].end] for row in done[:3]] == ["mbwa", "samaki", "unknowable"]
    second = project(rows, translate, markers=[MARKERS["brackets"], MARKERS["quotes"]])
    assert [row.ways for row in second] == [(Way.MARKERS,), (Way.MARKERS,), (Way.MARKERS,), ()]
    fuzzy = project(rows, translate, ways=["fuzzy"], translations=["mbwa ale", "samaki", "tofauti", "x"])
    assert [row.ways for row in fuzzy] == [(Way.FUZZY,), (Way.FUZZY,), (None,), ()]
    counts = count_yield("sw", fuzzy)
    assert (counts.rows, counts.dropped, counts.ways) == (4, 1, {"fuzzy": 2, "none": 1})
    with pytest.raises(UserError, match="expected one translation per row, found 1 for 4 rows"):
        project(rows, translate, translations=["x"])
    with pytest.raises(UserError, match="unknown way of projection 'fuzy': did you mean 'fuzzy'"):
        project(rows, translate, ways=["fuzy"])


def test_rows_without_their_answer_are_dropped_and_counted():
    context = "the dog ate fish"
    examples = [
        Example("1", ("what house", context), answers=(Answer("fish", 12),)),
        Example("2", ("what dog", "[ gone"), answers=(Answer("gone", 2),)),
    ]
    forget = lambda texts: [text.replace("gone", "x") if "[" in text else text for text in translate(texts)]  # noqa: E731
    rows, counts = project_answers(examples, forget, "sw", markers=[MARKERS["brackets"]])
    assert [example.id for example in rows] == ["1"]
    assert rows[0].texts == ("what nyumba", "the mbwa alikula samaki")
    assert rows[0].source == examples[0].texts
    assert rows[0].answers == (Answer("samaki", 17),)
    assert (counts.rows, counts.dropped) == (2, 1)


def test_wrong_offsets_are_named():
    with pytest.raises(UserError, match="the span 2 to 9 is not in its text of 3 characters"):
        Labelled("abc", (Span(2, 9),))


def test_a_real_engine_aligns_by_its_states(tmp_path: Path) -> None:
    """Every token of the tiny model has a state and is written out; a word's links hang on them."""
    pytest.importorskip("sentencepiece")
    from translation_models import m2m

    engine = Transformers(str(m2m(tmp_path / "m2m")))
    text = "mbwa anakula samaki"
    pieces, states = engine.pieces([text, ""], "sw"), engine.encode([text, ""], "sw")
    assert [len(row) for row in pieces] == [len(state) for state in states]
    assert (pieces[0][0], pieces[0][-1]) == ("__sw__", "</s>")
    assert set(word_of_pieces(text, pieces[0])) == {None, 0, 1, 2}
    scores = StatesAligner(engine, "sw", "en").scores(text, "a dog eats fish")
    assert scores.shape == (3, 4)
    same = StatesAligner(engine, "sw", "sw").scores(text, text)
    assert same.diagonal() == pytest.approx(1.0)
    assert links(same) == [(0, 0), (1, 1), (2, 2)]
