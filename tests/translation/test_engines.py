"""An engine from a recipe: what is wrong with it is said before any work."""

from pathlib import Path
from typing import Any

import pytest

from crossflare.errors import UserError
from crossflare.translation.engines.protocol import Translator, engine_id
from crossflare.translation.engines.registry import ENGINES, make_engine


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.sw").write_text("nyumba kubwa\nnyumba\n")
    (tmp_path / "a.en").write_text("big house\nhouse\n")
    (tmp_path / "l.tsv").write_text("nyumba\thouse\n")
    (tmp_path / "p.csv").write_text('english,swahili\n"big, house",nyumba kubwa\nhouse,nyumba\n')
    return tmp_path


DICTIONARY = {"engine": "dictionary", "source": "swh", "target": "English", "lexicon": "l.tsv"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "expected `engine:` with one of transformers, ctranslate2, dictionary"),
        ({"engine": "dictionery"}, "unknown translation engine 'dictionery': did you mean 'dictionary'"),
        (DICTIONARY | {"lexikon": "x"}, "unknown option 'lexikon' of the engine dictionary: did you mean 'lexicon'"),
        ({"engine": "dictionary", "source": "sw"}, "the engine dictionary needs the option 'target'"),
        (DICTIONARY | {"iterations": "9"}, "option 'iterations' of the engine dictionary: expected int, found '9'"),
        (DICTIONARY | {"iterations": True}, "expected int, found True"),
        (DICTIONARY | {"target": "sw"}, "source and target are both 'sw'"),
        (DICTIONARY | {"source": "swahilli"}, "did you mean 'Swahili'"),
        (DICTIONARY | {"pairs_file": "p.csv"}, "found both; leave one out"),
        (DICTIONARY | {"lexicon": "no.tsv"}, "no.tsv: expected a text file"),
        ({"engine": "precomputed", "source": "sw", "target": "en"}, "give source_file and target_file, or pairs_file"),
    ],
)
def test_mistakes(files: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_engine(options)


def test_dictionary_of_a_lexicon(files: Path) -> None:
    engine = make_engine(DICTIONARY)
    assert isinstance(engine, Translator)
    assert engine.translate(["Nyumba, xyz.", "  "], source="sw", target="en") == ["House, xyz.", "  "]
    with pytest.raises(UserError, match="no lexicon from en to sw"):
        engine.translate(["house"], source="en", target="sw")


@pytest.mark.parametrize(
    "texts",
    [
        {"source_file": "a.sw", "target_file": "a.en"},
        {"pairs_file": "p.csv", "source_column": "swahili", "target_column": "english"},
    ],
)
def test_learnt_dictionary_goes_both_ways(files: Path, texts: dict[str, str]) -> None:
    engine = make_engine({"engine": "dictionary", "source": "sw", "target": "en", **texts})
    assert engine.translate(["nyumba kubwa"], source="sw", target="en") == ["house big"]
    assert engine.translate(["house"], source="en", target="sw") == ["nyumba"]


def test_the_identity_follows_contents_not_names(files: Path) -> None:
    first = engine_id(make_engine(DICTIONARY).identity)
    (files / "other.tsv").write_text("nyumba\thouse\n")
    assert engine_id(make_engine(DICTIONARY | {"lexicon": "other.tsv"}).identity) == first
    (files / "l.tsv").write_text("nyumba\thome\n")
    assert engine_id(make_engine(DICTIONARY).identity) != first


PRECOMPUTED = {"engine": "precomputed", "source": "sw", "target": "en", "source_file": "a.sw", "target_file": "a.en"}


def test_precomputed(files: Path) -> None:
    engine = make_engine(PRECOMPUTED)
    assert engine.translate(["nyumba", "", "nyumba kubwa"], source="sw", target="en") == ["house", "", "big house"]
    with pytest.raises(UserError, match="no translation for 1 of 2 texts, the first is 'Nyumba'"):
        engine.translate(["nyumba", "Nyumba"], source="sw", target="en")
    with pytest.raises(UserError, match="the files translate sw to en, not en to sw"):
        engine.translate(["house"], source="en", target="sw")


def test_unequal_line_counts_name_both(files: Path) -> None:
    (files / "a.en").write_text("big house\nhouse\nmore\n")
    with pytest.raises(UserError, match=r"a.sw holds 2 lines and a.en 3"):
        make_engine(PRECOMPUTED)


def test_only_the_line_feed_ends_a_line(files: Path) -> None:
    (files / "a.sw").write_text("moja\u2028mbili\u0085tatu\x0b\x0c\nnne")
    (files / "a.en").write_bytes(b"one\rtwo\nfour\n")
    engine = make_engine(PRECOMPUTED)
    assert engine.translate(["moja\u2028mbili\u0085tatu\x0b\x0c", "nne"], source="sw", target="en") == [
        "one\rtwo",
        "four",
    ]


def test_lines_of_windows(files: Path) -> None:
    (files / "a.sw").write_bytes(b"\xef\xbb\xbfnyumba\r\nmoja\r\n")
    (files / "a.en").write_bytes(b"house\none\n")
    assert make_engine(PRECOMPUTED).translate(["nyumba"], source="sw", target="en") == ["house"]


def test_files_that_cannot_be_read(files: Path) -> None:
    (files / "a.sw").write_bytes(b"\xff\n")
    with pytest.raises(UserError, match=r"a\.sw:1: not UTF-8"):
        make_engine(PRECOMPUTED)
    (files / "a.sw").write_bytes(b"")
    (files / "a.en").write_bytes(b"")
    with pytest.raises(UserError, match="found an empty file"):
        make_engine(PRECOMPUTED)


def test_every_engine_says_what_it_is() -> None:
    assert all(engine.description and engine.licence and engine.options for engine in ENGINES.values())


@pytest.mark.parametrize("path", ["{language}.tsv", "{source}.tsv", "{source}-{target}.tsv"])
def test_one_path_for_many_languages(files: Path, path: str) -> None:
    for name in ("sw.tsv", "sw-en.tsv"):
        (files / name).write_text("nyumba\thouse\n")
    engine = make_engine({"engine": "dictionary", "source": "swh", "target": "en", "lexicon": path})
    assert engine.translate(["nyumba"], source="sw", target="en") == ["house"]
    given = {"engine": "precomputed", "source": "sw", "target": "en", "source_file": "a.{source}"}
    assert make_engine(given | {"target_file": "a.{target}"}).translate(["nyumba"], source="sw", target="en") == [
        "house"
    ]
    with pytest.raises(UserError, match=r"\{language\} could be sw or fr; write \{source\} or \{target\} instead"):
        make_engine({"engine": "dictionary", "source": "sw", "target": "fr", "lexicon": "{language}.tsv"})


def test_an_own_card_for_each_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    from crossflare.translation.engines import model_files

    monkeypatch.setenv("CROSSFLARE_DEVICE", "cpu")
    assert model_files.own_card(2) is None
    monkeypatch.delenv("CROSSFLARE_DEVICE")
    assert model_files.own_card(0) is None
    assert model_files.own_card(2) == "cuda:0"
    names = [type("P", (), {"name": f"SpawnProcess-{number}"})() for number in (1, 2, 3)]
    for process, card in zip(names, ("cuda:0", "cuda:1", "cuda:0"), strict=True):
        monkeypatch.setattr(model_files, "current_process", lambda process=process: process)
        assert model_files.own_card(2) == card
