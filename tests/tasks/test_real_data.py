from collections import Counter
from pathlib import Path

import pytest

from crossflare.tasks.cutting import with_dev
from crossflare.tasks.sets import load_set

pytestmark = pytest.mark.data


def test_nusax_has_the_published_rows_and_labels_in_every_language(data: Path) -> None:
    nusax = load_set("nusax", data / "nusax")
    assert {"en", "id", "jv", "min", "nij", "bbc"} <= set(nusax.languages)
    expected = {"train": [192, 119, 189], "dev": [38, 24, 38], "test": [153, 96, 151]}
    for language in nusax.languages:
        for part, counts in expected.items():
            split = nusax.parallel(language, part, "en")
            assert [Counter(item.label for item in split)[label] for label in range(3)] == counts
            assert all(item.source for item in split)


def test_nusax_oddities_arrive_untouched(data: Path) -> None:
    nusax = load_set("nusax", data / "nusax")
    texts = {
        (language, item.id): item.texts[0]
        for language in nusax.languages
        for part in nusax.parts(language)
        for item in nusax.split(language, part)
    }
    assert {key for key, text in texts.items() if text == "#ERROR!"} == {("bug", "270"), ("su", "778")}
    assert sum("\n" in text for text in texts.values()) == 49
    assert sum(text != text.strip() for text in texts.values()) == 313
    assert texts["nij", "116"].casefold() == texts["nij", "16"].casefold()


def test_xnli_has_the_published_rows_and_one_label_name_each(data: Path) -> None:
    xnli = load_set("xnli", data / "xnli")
    for language in ("en", "sw"):
        for part, counts in {"train": [1214, 1018, 1268], "dev": [830] * 3, "test": [1670] * 3}.items():
            split = xnli.parallel(language, part, "en")
            assert [Counter(item.label for item in split)[label] for label in range(3)] == counts
    shipped = xnli.machine_source("sw", "test")
    assert shipped is not None
    assert len(shipped) == 5010
    assert xnli.machine_source("en", "test") is None


def test_a_dev_cut_of_xnli_shares_no_premise_in_any_language(data: Path) -> None:
    cut = with_dev(load_set("xnli", data / "xnli"), 300, 0)
    for language in cut.languages:
        train, dev = cut.split(language, "train"), cut.split(language, "dev")
        assert (len(train), len(dev)) == (3200, 300)
        assert not {item.texts[0] for item in train} & {item.texts[0] for item in dev}


TYDIQA = {("en", "train"): 3696, ("sw", "train"): 2755, ("ar", "test"): 921, ("bn", "test"): 113, ("en", "test"): 440}
TYDIQA |= {("id", "test"): 565, ("ru", "test"): 812, ("sw", "test"): 499, ("te", "test"): 669}


def test_tydiqa_has_the_published_questions_and_its_known_overlap(data: Path) -> None:
    tydiqa = load_set("tydiqa", data / "tydiqa")
    found = {(language, part): tydiqa.split(language, part) for language, part in TYDIQA}
    assert {key: len(split) for key, split in found.items()} == TYDIQA
    assert all(item.answers for split in found.values() for item in split)
    blank = [key for key, split in found.items() for item in split for a in item.answers if a.text != a.text.strip()]
    assert Counter(blank) == {("en", "train"): 12, ("sw", "train"): 1, ("ru", "test"): 2}
    trained = {language: {item.texts[1] for item in found[language, "train"]} for language in ("sw", "en")}
    shared = {
        language: sum(item.texts[1] in trained[language] for item in found[language, "test"]) for language in trained
    }
    assert shared == {"sw": 94, "en": 0}


def test_a_dev_cut_of_tydiqa_shares_no_context(data: Path) -> None:
    cut = with_dev(load_set("tydiqa", data / "tydiqa"), 300, 0)
    for language, rows in (("en", 3696), ("sw", 2755)):
        train, dev = cut.split(language, "train"), cut.split(language, "dev")
        assert (len(train), len(dev)) == (rows - 300, 300)
        assert not {item.texts[1] for item in train} & {item.texts[1] for item in dev}


def test_xquad_is_parallel_in_every_language(data: Path) -> None:
    xquad = load_set("xquad", data / "xquad")
    assert len(xquad.languages) == 8
    for language in xquad.languages:
        split = xquad.parallel(language, "test", "en")
        assert len(split) == 1190
        assert all(item.source and len(item.answers) == 1 for item in split)
