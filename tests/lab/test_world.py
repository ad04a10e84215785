"""The laboratory's texts: the same for the same seed, exact in translation, fair among labels and languages."""

import os
import subprocess
import sys
from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossflare import languages
from crossflare.errors import UserError
from crossflare.translation.engines.protocol import Translator
from crossflare_lab import corpus, grammar, items
from crossflare_lab.languages import SOURCE, tags, word_forms
from crossflare_lab.sets import NAMES, load_lab_set
from crossflare_lab.translator import LabTranslator, wrong_senses
from crossflare_lab.world import Clause, Phrase, concepts, of_kind

DIGEST = """
from crossflare.disk.files import content_id
from crossflare_lab import corpus, sets
data = [sets.load_lab_set(name, train=20, dev=5, test=5) for name in sets.NAMES]
print(content_id([
    [d.split(l, p).digest for d in data for l in d.languages for p in ("train", "dev", "test")],
    [[d.language, d.text] for d in corpus.documents(200, 0.3)],
]))
"""


def test_a_new_process_makes_the_same() -> None:
    made = [
        subprocess.run(
            [sys.executable, "-c", DIGEST], env={**os.environ, "PYTHONHASHSEED": seed}, check=True, capture_output=True
        ).stdout
        for seed in ("1", "2")
    ]
    assert made[0] == made[1]


def test_another_seed_makes_another() -> None:
    one, other = (
        load_lab_set("lab-topic", seed, train=20, dev=0, test=0).split(SOURCE, "train").digest for seed in (0, 1)
    )
    assert one != other
    assert word_forms(SOURCE, 0).stems != word_forms(SOURCE, 1).stems


@pytest.mark.parametrize("tag", tags())
def test_tags_are_languages_and_their_words_have_one_reading(tag: str) -> None:
    assert (languages.find_language(tag).tag, languages.find_language(tag).nllb) == (tag, f"{tag}_Latn")
    words = word_forms(tag)
    assert len(words.forms) == len(words.readings)
    assert set(words.stems) == set(concepts())
    assert all(words.readings[form] == reading for reading, form in words.forms.items())


def test_nearer_languages_share_more_words() -> None:
    source = word_forms(SOURCE).stems
    shared = [sum(word_forms(tag).stems[c] == stem for c, stem in source.items()) / len(source) for tag in tags()[1:]]
    assert shared == sorted(shared, reverse=True)
    assert shared[0] > 2 * shared[-1]


phrases = st.builds(
    Phrase,
    st.sampled_from(of_kind("person", "food") + of_kind("thing", "craft")),
    st.lists(st.sampled_from(of_kind("adjective")), max_size=2).map(tuple),
    st.booleans(),
)
places = st.none() | st.sampled_from(of_kind("place", "nature") + of_kind("town") + ("where",)).map(Phrase)
events = st.builds(
    Clause,
    phrases,
    st.sampled_from(of_kind("verb") + of_kind("verb", "music")),
    st.none() | phrases,
    places,
    st.none() | st.sampled_from(of_kind("time")),
    st.booleans(),
    st.booleans(),
    st.sampled_from(".?!"),
)
claims = st.builds(
    Clause, phrases, st.just("be"), st.sampled_from(of_kind("adjective")).map(Phrase), negated=st.booleans()
)


@given(st.lists(events | claims, min_size=1, max_size=3), st.sampled_from(tags()))
def test_reading_is_the_inverse_of_writing(clauses: list[Clause], tag: str) -> None:
    assert grammar.read_clauses(grammar.write_clauses(clauses, word_forms(tag)), word_forms(tag)) == clauses


@pytest.mark.parametrize("name", NAMES)
def test_exact_translation_is_the_parallel_text(name: str) -> None:
    data, engine = load_lab_set(name, train=0, dev=0, test=60), LabTranslator()
    assert isinstance(engine, Translator)
    for here in tags():
        for there in set(tags()) - {here}:
            rows = zip(data.split(here, "test"), data.split(there, "test"), strict=True)
            for one, other in rows:
                assert tuple(engine.translate(one.texts, source=here, target=there)) == other.texts
                for answer in one.answers:
                    (moved,) = engine.translate([answer.text], source=here, target=there)
                    assert moved in other.texts[1]


def test_unknown_words_and_blank_texts_come_through() -> None:
    engine, words = LabTranslator(), word_forms("qad").stems
    assert engine.translate(["", " \n", "Hello, xylophone"], source="qad", target="qaa")[:2] == ["", " \n"]
    assert engine.translate([f"Hello, {words['bread']}"], source="qad", target="qaa") == [
        f"Hello, {word_forms('qaa').stems['bread']}"
    ]
    with pytest.raises(UserError, match="both 'qaa'"):
        engine.translate(["x"], source="qaa", target="qaa")
    with pytest.raises(UserError, match="language of the laboratory 'xx'"):
        engine.translate(["x"], source="xx", target="qaa")


def noisy(**rates: float) -> list[tuple[list[str], list[str]]]:
    """Return (words of the exact translation, words of the noisy one) for many sentences."""
    texts = [e.texts[0] for e in load_lab_set("lab-topic", train=0, dev=0, test=300).split("qac", "test")]
    exact, wrong = (e.translate(texts, source="qac", target="qaa") for e in (LabTranslator(), LabTranslator(**rates)))
    assert wrong == LabTranslator(**rates).translate(texts[::-1], source="qac", target="qaa")[::-1]
    return [(a.replace(".", "").split(), b.replace(".", "").split()) for a, b in zip(exact, wrong, strict=True)]


@pytest.mark.parametrize("rate", [0.1, 0.4])
def test_rates_of_errors_are_what_was_asked(rate: float) -> None:
    pairs = noisy(drop=rate)
    total = sum(len(a) for a, _ in pairs)
    assert 1 - sum(len(b) for _, b in pairs) / total == pytest.approx(rate, abs=0.02)

    pairs = noisy(wrong_sense=rate)
    changed = sum(x != y for a, b in pairs for x, y in zip(a, b, strict=True))
    content = sum(len(a) - a.count(word_forms("qaa").stems["in"]) for a, _ in pairs)
    assert changed / content == pytest.approx(rate, abs=0.03)

    pairs = noisy(swap=rate)
    assert all(Counter(a) == Counter(b) for a, b in pairs)
    moved = sum(x != y for a, b in pairs for x, y in zip(a, b, strict=True)) / 2
    # Each place but a sentence's last starts a swap at `rate`, unless the place before did; two sentences.
    expected = 2 * sum(rate * (1 - (-rate) ** n) / (1 + rate) for a, _ in pairs for n in range(1, len(a) // 2))
    assert moved == pytest.approx(expected, rel=0.1)


def test_wrong_senses_keep_the_kind_and_leave_the_domain() -> None:
    for one, other in wrong_senses().items():
        assert one != other
        assert concepts()[one].kind == concepts()[other].kind
        assert concepts()[one].domain != concepts()[other].domain or not concepts()[one].domain


def test_a_rate_out_of_range_is_refused() -> None:
    with pytest.raises(UserError, match="option 'drop' of the engine lab: expected a probability from 0 to 1, got 2"):
        LabTranslator(drop=2)


@pytest.mark.parametrize("name", NAMES)
def test_labels_are_even_and_answers_are_where_they_are_said_to_be(name: str) -> None:
    data = load_lab_set(name, train=150, dev=30, test=60)
    for part, size in (("train", 150), ("dev", 30), ("test", 60)):
        labels = [[e.label for e in data.split(tag, part)] for tag in tags()]
        assert all(column == labels[0] for column in labels)
        assert len(labels[0]) == size
        assert max(Counter(labels[0]).values()) - min(Counter(labels[0]).values()) <= 1
        for tag in tags():
            for example in data.split(tag, part):
                assert len(example.answers) == (name == "lab-qa")
                for answer in example.answers:
                    context = example.texts[1]
                    assert answer.start is not None
                    assert context[answer.start : answer.start + len(answer.text)] == answer.text
                    assert len(answer.text.split()) + 1 < len(context.split())
                    around = context[: answer.start][-1:] + context[answer.start + len(answer.text) :][:1]
                    assert not any(sign.isalnum() for sign in around)


@pytest.mark.parametrize("kind", ["topic", "nli", "qa"])
def test_parts_share_no_item_and_small_parts_begin_large_ones(kind: str) -> None:
    drawn = {part: items.draw(kind, part, 60, 0) for part in ("train", "dev", "test")}
    facts = [item.facts for part in drawn.values() for item in part]
    assert len(set(facts)) == len(facts)
    assert items.draw(kind, "train", 20, 0) == drawn["train"][:20]


def test_no_cue_word_decides_a_topic() -> None:
    for item in items.draw("topic", "train", 100, 0):
        seen = Counter(
            concepts()[concept].domain
            for clause in item.texts[0]
            for concept in (clause.subject.head, clause.verb, clause.object.head, clause.place.head)
        )
        (_, first), (_, second) = seen.most_common(2)
        assert first in (5, 6)
        assert second <= 2


def test_no_document_gives_a_test_item_away(monkeypatch: pytest.MonkeyPatch) -> None:
    tests = [item for kind in ("topic", "nli", "qa") for item in items.draw(kind, "test", 500, 0)]
    for item in tests[::97]:
        assert corpus.gives_away([clause for text in item.texts for clause in text])
        assert not corpus.gives_away([clause for text in item.texts for clause in text][1:])
    asked = defaultdict(list)  # an item whose facts are all said has any one of them said
    for facts in (item.facts for item in tests):
        asked[next(iter(facts))].append(facts)
    for document in corpus.documents(6000):  # one of them would, if it were not drawn anew
        said = set(document.clauses)
        assert not any(facts <= said for clause in said for facts in asked[clause])


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 1.0])
def test_the_share_of_target_text_is_what_was_asked(share: float) -> None:
    """A part of a target document's words is the source's, so there are more such documents than the share says."""
    found = Counter(document.language for document in corpus.documents(600, share))
    own = (1 - corpus.MIXED) * (1 - corpus.BORROWED)
    assert 1 - found[SOURCE] / 600 == pytest.approx(min(1.0, share / own), abs=0.01)
    others = [found[tag] for tag in tags()[1:]]
    assert max(others) - min(others) <= 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: load_lab_set("lab-nil"), "unknown set of the laboratory 'lab-nil': did you mean 'lab-nli'"),
        (lambda: load_lab_set("lab-qa", train=-1), "lab-qa: expected a number of train items of 0 or more, got -1"),
        (lambda: load_lab_set("lab-qa", train=0, dev=0, test=0), "expected items in at least one part"),
        (lambda: corpus.documents(3, 1.5), "target_share: expected a share from 0 to 1, got 1.5"),
    ],
)
def test_mistakes_are_one_line(call, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
