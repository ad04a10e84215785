"""What every phrase book promises, whatever its seed."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossflare.errors import UserError
from crossflare.tasks.dataset import PARTS, DataSet
from crossflare.tasks.phrasebook import lexicon, phrasebook
from crossflare.tasks.phrasebook.grammar import LANGUAGES, glosses, phrase_words, templates
from crossflare.tasks.phrasebook.sentences import content_entries, tokens
from crossflare.translation.engines.lexicon import Lexicon
from crossflare.translation.engines.lexicon import words as words_of

seeds = st.integers(0, 10_000)
few = settings(max_examples=4)


def texts(data: DataSet, language: str, *parts: str) -> list[str]:
    return [item.texts[0] for part in parts for item in data.split(language, part)]


@few
@given(seed=seeds)
def test_all_languages_are_parallel_by_id_with_one_label(seed: int) -> None:
    data = phrasebook(seed, train=60, dev=30, test=60)
    assert isinstance(data, DataSet)
    assert data.languages == ("en", "es", "id", "sw")
    for language in data.languages:
        for part in PARTS:
            split = data.parallel(language, part, "en")
            assert [item.source for item in split] == [item.texts for item in data.split("en", part)]
            assert [(item.id, item.label) for item in split] == [(e.id, e.label) for e in data.split("en", part)]


@few
@given(seed=seeds, sizes=st.tuples(*[st.integers(0, 100)] * 3).filter(any))
def test_classes_are_balanced_and_sizes_are_as_asked(seed: int, sizes: tuple[int, int, int]) -> None:
    data = phrasebook(seed, **dict(zip(PARTS, sizes, strict=True)))
    assert data.parts("sw") == tuple(part for part, size in zip(PARTS, sizes, strict=True) if size)
    for part, size in zip(PARTS, sizes, strict=True):
        if size:
            counts = Counter(item.label for item in data.split("sw", part))
            assert sum(counts.values()) == size
            assert max(counts.values()) - min(counts[label] for label in range(3)) <= 1


@few
@given(seed=seeds)
def test_no_sentence_occurs_twice_in_any_language(seed: int) -> None:
    data = phrasebook(seed)
    for language in data.languages:
        sentences = texts(data, language, *PARTS)
        assert len(set(sentences)) == len(sentences) == 1050


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_word_that_carries_the_label_of_a_test_sentence_occurs_in_train_or_dev(language: str) -> None:
    if language == "en":
        carrying = {token for word in phrase_words() if word.part == "test" for token in tokens(word.forms["en"])} - {
            "me",
            "made",
        }
    else:
        carrying = {token for token, (_, part) in content_entries(language).items() if part == "test"}
    data = phrasebook(3, train=1500, dev=300, test=600)
    seen = {token for text in texts(data, language, "train", "dev") for token in tokens(text)}
    tested = {token for text in texts(data, language, "test") for token in tokens(text)}
    assert not carrying & seen
    assert len(carrying & tested) > 50
    for item in data.split(language, "test"):
        assert carrying & set(tokens(item.texts[0])), item.texts


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_test_word_shares_its_beginning_with_a_train_word(language: str) -> None:
    """A shared root would give the label away; prefixes of Indonesian and Swahili verbs are longer than roots."""
    length = {"en": 6, "es": 6, "id": 7, "sw": 7}[language]
    start: dict[str, set[str]] = {part: set() for part in PARTS}
    for word in phrase_words():
        if word.part and word.label != "neutral":
            form = word.forms[language].replace("{s}lini", "").lstrip("-~+")
            start[word.part] |= {token[:length] for token in tokens(form) if len(token) >= length}
    assert not (start["test"] & start["train"]) - {"membuat"}


def test_every_class_has_words_enough_in_every_part() -> None:
    counts = Counter((word.part, word.label) for word in phrase_words())
    for label in ("negative", "neutral", "positive"):
        assert counts["train", label] >= 18
        assert counts["test", label] >= 10
        assert counts["dev", label] >= 5
    assert sum(word.kind == "noun" for word in phrase_words()) >= 25
    assert len(templates()) >= 20


@few
@given(seed=seeds)
def test_the_seed_fixes_the_set_and_smaller_parts_begin_larger_ones(seed: int) -> None:
    data = phrasebook(seed, train=30, dev=0, test=12)
    larger = phrasebook(seed, train=60, dev=9, test=90)
    assert data.split("sw", "test").examples == larger.split("sw", "test").examples[:12]
    assert data.split("es", "train").digest == phrasebook(seed, train=30).split("es", "train").digest
    assert phrasebook(seed + 1, train=30).split("en", "train").digest != data.split("en", "train").digest


def test_the_sentences_of_a_seed_stay_the_same_between_versions() -> None:
    digests = {language: phrasebook(0).split(language, "test").digest for language in LANGUAGES}
    assert digests == DIGESTS, "raise TASK.version when the sentences change"


@pytest.mark.parametrize("language", ["es", "id", "sw"])
@pytest.mark.parametrize("seed", [0, 1, 7])
def test_the_lexicon_covers_85_per_cent_of_the_running_words(language: str, seed: int) -> None:
    data, known = phrasebook(seed), lexicon(language, seed=seed)
    assert Lexicon(known).coverage(texts(data, language, *PARTS)) == pytest.approx(0.85, abs=0.01)
    for part in PARTS:
        assert Lexicon(known).coverage(texts(data, language, part)) == pytest.approx(0.85, abs=0.04)


@pytest.mark.parametrize("language", ["es", "id", "sw"])
def test_the_whole_lexicon_knows_every_word_once(language: str) -> None:
    known = lexicon(language, 1.0)
    for seed in range(3):
        assert Lexicon(known).coverage(texts(phrasebook(seed, train=900), language, *PARTS)) == 1.0
    meanings: dict[str, set[str]] = {}
    for word in phrase_words():
        form = word.forms[language].replace("{s}", "").partition("/")[0]
        left = [token for token in tokens(form) if token not in {"el", "la", *glosses()[language]}]
        assert len(left) == 1, (word.forms, left)
        meanings.setdefault(left[0], set()).add(word.forms["en"].split()[0][:5])
    assert not {token: found for token, found in meanings.items() if len(found) > 1}


def test_lexicon_entries_lead_to_english() -> None:
    swahili, spanish, malay = lexicon("sw", 1.0), lexicon("es", 1.0), lexicon("id", 1.0)
    assert [swahili[word] for word in ("nzuri", "kizuri", "kukatisha", "jumatatu", "kilinivutia")] == [
        "good",
        "good",
        "disappointing",
        "Monday",
        "charmed me",
    ]
    assert [spanish[word] for word in ("película", "buena", "reír", "aburrió")] == ["film", "good", "laugh", "bored"]
    assert [malay[word] for word in ("memikat", "sebal", "jepang")] == ["charming", "annoyed", "Japanese"]


def test_the_tokens_are_the_words_of_the_dictionary_engine() -> None:
    data = phrasebook(0)
    for language in LANGUAGES:
        for text in texts(data, language, *PARTS):
            assert tokens(text) == words_of(text)


def test_the_lexicon_does_not_depend_on_how_much_is_asked_for_elsewhere() -> None:
    assert lexicon("sw", seed=2) == lexicon("sw", seed=2)
    assert lexicon("sw", seed=2) != lexicon("sw", seed=3)
    assert set(lexicon("sw", 0.7)) < set(lexicon("sw", 1.0))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: phrasebook(train=-1), "expected a number of train sentences of 0 or more, got -1"),
        (lambda: phrasebook(train=0, dev=0, test=0), "expected sentences in at least one part"),
        (lambda: phrasebook(dev=3000), r"only \d+ different dev sentences found; ask for fewer"),
        (lambda: lexicon("en"), "unknown language with a lexicon into English 'en'"),
        (lambda: lexicon("sw", 0.0), "expected a coverage above 0 and up to 1, got 0.0"),
    ],
)
def test_impossible_wishes_are_refused(call, says: str) -> None:
    with pytest.raises(UserError, match=says):
        call()


DIGESTS = {"en": "15e54aa469b7", "es": "c8e88c8c1baf", "id": "66c4f15e659d", "sw": "5e741dca872d"}
