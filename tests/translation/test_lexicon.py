"""Laws of the lexicon: it is IBM model 1, it finds what a reader would, and it survives the disk."""

from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossflare.errors import UserError
from crossflare.translation.engines.lexicon import Lexicon, ibm1, learn

TOY = [("das haus", "the house"), ("das buch", "the book"), ("ein buch", "a book")]


def by_loops(pairs: list[tuple[list[str], list[str]]], iterations: int) -> dict[tuple[str, str], float]:
    """IBM model 1 as its equations stand: e over the source words and the empty word, f over the target words."""
    together = {(e, f) for source, target in pairs for e in ["", *source] for f in target}
    t = dict.fromkeys(together, 1.0)
    for _ in range(iterations):
        count: dict[tuple[str, str], float] = defaultdict(float)
        total: dict[str, float] = defaultdict(float)
        for source, target in pairs:
            for f in target:
                normal = sum(t[e, f] for e in ["", *source])
                for e in ["", *source]:
                    count[e, f] += t[e, f] / normal
                    total[e] += t[e, f] / normal
        t = {(e, f): count[e, f] / total[e] for e, f in together}
    return t


def test_one_round_by_hand() -> None:
    table = ibm1([(["x"], ["a", "b"]), (["x"], ["a"])], iterations=1)
    got = {
        (table.source_words[e], table.target_words[f]): p
        for e, f, p in zip(table.source, table.target, table.probability, strict=True)
    }
    # Each running target word is shared equally by x and the empty word: a twice, b once.
    assert got == pytest.approx({("", "a"): 2 / 3, ("", "b"): 1 / 3, ("x", "a"): 2 / 3, ("x", "b"): 1 / 3})


@given(
    st.lists(st.tuples(*[st.lists(st.sampled_from("abcde"), min_size=1, max_size=5)] * 2), min_size=1, max_size=6),
    st.integers(1, 6),
)
def test_equals_the_loops(pairs: list[tuple[list[str], list[str]]], iterations: int) -> None:
    table = ibm1(pairs, iterations)
    expected = by_loops(pairs, iterations)
    got = {
        (table.source_words[e], table.target_words[f]): p
        for e, f, p in zip(table.source, table.target, table.probability, strict=True)
    }
    assert got.keys() == expected.keys()
    assert all(abs(got[key] - expected[key]) < 1e-9 for key in expected)


def test_toy_corpus_in_both_directions() -> None:
    assert learn(TOY).entries == {"das": "the", "haus": "house", "buch": "book", "ein": "a"}
    back = learn([(target, source) for source, target in TOY])
    assert back.entries == {"the": "das", "house": "haus", "book": "buch", "a": "ein"}


def test_ties_do_not_hang_on_the_order_of_pairs() -> None:
    assert learn([("x", "b a")]).entries == learn([("x", "a b")]).entries == {"x": "a"}


def test_minimum_leaves_out_what_is_uncertain() -> None:
    assert "x" not in learn([("x", "a b c d"), ("y", "a")], minimum=0.9).entries
    with pytest.raises(UserError, match="no translation reaches the minimum probability 2"):
        learn(TOY, minimum=2.0)


def test_nothing_to_learn_from() -> None:
    with pytest.raises(UserError, match=r"found none among 2 pair\(s\)"):
        learn([("", "a"), ("b", "!")])


def test_coverage_counts_running_words() -> None:
    lexicon = Lexicon({"a": "x", "b": "y"})
    assert lexicon.coverage(["a A, c!", "b"]) == 3 / 4
    assert lexicon.coverage(["", "..."]) == 0.0


def test_saved_and_loaded(tmp_path: Path) -> None:
    lexicon = Lexicon({"terima kasih": "thank you", "a": "b"})
    lexicon.save(tmp_path / "l.tsv")
    assert (tmp_path / "l.tsv").read_text() == "a\tb\nterima kasih\tthank you\n"
    again = Lexicon.load(tmp_path / "l.tsv")
    assert again == lexicon
    assert again.digest == lexicon.digest != Lexicon({"a": "c"}).digest


def test_loading_folds_keys_and_keeps_the_first(tmp_path: Path) -> None:
    path = tmp_path / "l.tsv"
    path.write_text("Terima  Kasih\tthank you\t0.5\n\nA\tb\na\tc\n")
    assert Lexicon.load(path).entries == {"terima kasih": "thank you", "a": "b"}


@pytest.mark.parametrize(
    ("content", "message"),
    [("a\tb\nc\n", r"l.tsv:2: expected a word, a tab"), ("!\tx\n", r":1: expected a word"), ("\n", "found none")],
)
def test_damaged_files_are_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "l.tsv").write_text(content)
    with pytest.raises(UserError, match=message):
        Lexicon.load(tmp_path / "l.tsv")
