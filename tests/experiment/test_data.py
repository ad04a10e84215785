"""Which rows a step reads: the right texts, with the right source beside them, by the right translator."""

from pathlib import Path
from typing import Any

import pytest

from crossflare.errors import UserError
from crossflare.experiment.data.controls import counts
from crossflare.experiment.data.opening import open_set
from crossflare.experiment.data.rows import Data
from crossflare.recipe.strict_yaml import GatheredError
from crossflare.tasks.cutting import with_draw
from crossflare.tasks.dataset import LanguageParts
from crossflare.tasks.example import Example, Split
from crossflare.tasks.kinds import TextTask
from tiny_experiment import WORDS, Lab, make_rows, word_pairs


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """No base model is needed here."""
    monkeypatch.setattr("tiny_experiment.make_base", lambda folder: folder.mkdir(parents=True))
    return Lab(tmp_path / "lab")


def data(lab: Lab, changes: dict[str, Any] | None = None) -> Data:
    return Data(lab.spec(changes), lab.folder)


def texts(split: Split) -> list[str]:
    return [example.texts[0] for example in split]


def sources(split: Split) -> list[str | None]:
    return [example.source[0] if example.source else None for example in split]


def rows(language: str, part: str) -> list[str]:
    return [row["text"] for row in make_rows(language, part)]


def test_the_source_task_is_in_the_source_language(lab: Lab) -> None:
    split = data(lab).source_task("train")
    assert (split.language, texts(split)) == ("en", rows("en", "train"))
    assert [example.label for example in split] == [number % 2 for number in range(12)]


def test_parallel_training_rows_have_the_labelled_text_as_source(lab: Lab) -> None:
    split = data(lab).training("sw", "train", "original")
    assert (texts(split), sources(split)) == (rows("sw", "train"), rows("en", "train"))


def test_machine_sources_in_training_are_by_the_engine_of_the_test_rows(lab: Lab) -> None:
    (lab.folder / "words.tsv").write_text("filamu\tMOVIE\n")
    made = data(lab)
    for split in (made.training("sw", "train", "machine"), made.test("sw", "machine")):
        assert sources(split) == [text.replace("filamu", "MOVIE") for text in rows("sw", split.part)]
    assert sources(made.training("sw", "train", "original")) == rows("en", "train")


def test_test_sources(lab: Lab) -> None:
    made = data(lab)
    assert sources(made.test("es", "none")) == [None] * 7
    assert sources(made.test("es", "oracle")) == rows("en", "test")
    assert sources(made.test("es", "machine")) == [text.replace("the", "el") for text in rows("en", "test")]
    for kind in ("none", "oracle", "machine"):
        assert texts(made.test("es", kind)) == rows("es", "test")


def test_an_oracle_without_rows_in_the_source_language_is_refused(lab: Lab) -> None:
    del lab.recipe["task"]["files"]["en"]["test"]
    made = data(lab)
    assert len(made.test("es", "machine")) == 7
    with pytest.raises(UserError, match="has no test rows of its own in 'en' beside 'es'; an oracle source needs them"):
        made.test("es", "oracle")


def test_rows_may_be_translated_into_the_target(lab: Lab) -> None:
    """No file of the target language but the one to be labelled is needed."""
    there = lab.folder / "there.tsv"
    there.write_text("".join(f"{english}\t{word}\n" for word, english in word_pairs("es")))
    for part in ("train", "dev"):
        del lab.recipe["task"]["files"]["es"][part]
    made = data(lab, {
        "targets": ["es"],
        "task.files": {name: lab.recipe["task"]["files"][name] for name in ("en", "es")},
        "translation.to_target": {"engine": "dictionary", "lexicon": str(there)},
    })  # fmt: skip
    for part in ("train", "dev"):
        split = made.training("es", part, "original")
        assert (split.language, texts(split), sources(split)) == ("es", rows("es", part), rows("en", part))
        assert [example.id for example in split] == [row["id"] for row in make_rows("en", part)]
    assert texts(made.test("es", "none")) == rows("es", "test")
    identity = made.translations.identity_to_target("es")
    assert identity is not None
    assert identity["engine"] == "dictionary"


def test_without_an_engine_the_targets_rows_must_be_there(lab: Lab) -> None:
    del lab.recipe["task"]["files"]["es"]["train"]
    with pytest.raises(GatheredError, match=r"task\.files\.es\.train: missing; expected a file"):
        data(lab)


def test_a_learnt_dictionary_knows_the_training_rows_only(lab: Lab) -> None:
    lab.edit("es", "test", lambda all_rows: all_rows[0].update(text="cine desconocido"))
    lab.edit("en", "test", lambda all_rows: all_rows[0].update(text="film unknown"))
    lab.edit("es", "dev", lambda all_rows: all_rows[0].update(text="desconocido"))
    lab.edit("en", "dev", lambda all_rows: all_rows[0].update(text="unknown"))
    split = data(lab, {"translation.to_source": {"engine": "dictionary", "learn": "train"}}).test("es", "machine")
    first = sources(split)[0]
    assert first is not None
    assert first.split()[1] == "desconocido"
    assert first.split()[0] in {word for kinds in WORDS["en"].values() for word in kinds}


def test_a_dictionary_into_the_target_is_learnt_from_the_sets_own_pairs(lab: Lab) -> None:
    split = data(lab, {"translation.to_target": {"engine": "dictionary", "learn": "train"}}).training(
        "es", "train", "original"
    )
    known = {word for kinds in WORDS["es"].values() for word in kinds}
    assert {word for text in texts(split) for word in text.split()} <= known
    assert sources(split) == rows("en", "train")


def test_what_is_learnt_takes_the_options_of_a_learner(lab: Lab) -> None:
    learn = {"engine": "dictionary", "learn": "train"}
    plain = data(lab, {"translation.to_source": learn}).identity("es", "machine")
    strict = data(
        lab, {"translation.to_source": {**learn, "iterations": 1, "minimum": 0.3, "licence": "mine"}}
    ).identity("es", "machine")
    assert plain is not None
    assert strict is not None
    assert strict["learnt"] == {**plain["learnt"], "iterations": 1, "minimum": 0.3}
    assert strict["licence"] == "mine"
    with pytest.raises(
        UserError, match="learn: train stands beside lexicon; a dictionary is learnt or given: leave one"
    ):
        data(lab, {"translation.to_source": {**learn, "lexicon": str(lab.folder / "words.tsv")}}).test("es", "machine")


def test_precomputed_translations_from_files(lab: Lab) -> None:
    import json

    pairs = lab.folder / "pairs.jsonl"
    both = [(t, f"translated {n}") for n, t in enumerate(dict.fromkeys(rows("es", "test")))]
    pairs.write_text("".join(json.dumps({"source": a, "target": b}) + "\n" for a, b in both))
    engine = {"engine": "precomputed", "pairs_file": str(pairs)}
    made = data(lab, {"translation.to_source": engine})
    assert sources(made.test("es", "machine")) == [dict(both)[text] for text in rows("es", "test")]
    with pytest.raises(UserError, match="the files give no translation for"):
        made.training("es", "train", "machine")
    none = data(lab, {"translation.to_source": {"engine": "precomputed"}})
    with pytest.raises(UserError, match="comes with no translation of 'es' test rows into 'en'; name another engine"):
        none.test("es", "machine")


def test_the_sets_own_parallel_text_is_no_engine_for_training_rows(lab: Lab) -> None:
    made = data(lab, {"translation.to_source": {"engine": "parallel"}})
    assert sources(made.test("es", "machine")) == rows("en", "test")
    with pytest.raises(UserError, match="cannot translate new rows"):
        made.training("es", "train", "machine")


def test_limits_take_the_first_rows(lab: Lab) -> None:
    made = data(lab, {"task.limit": {"train": 5, "dev": 3, "test": 2}})
    assert texts(made.source_task("train")) == rows("en", "train")[:5]
    assert texts(made.training("es", "dev", "original")) == rows("es", "dev")[:3]
    for kind in ("none", "machine", "oracle"):
        assert texts(made.test("es", kind)) == rows("es", "test")[:2]


def test_rows_are_drawn_by_the_seed_the_same_in_every_language(lab: Lab) -> None:
    first, drawn, other, whole = (
        data(lab, changes)
        for changes in (
            {"task.limit": {"train": 5}},
            {"task.limit": {"train": 5}, "task.draw": 0},
            {"task.limit": {"train": 5}, "task.draw": 1},
            {"task.limit": {"train": 500}, "task.draw": 0},
        )
    )
    names = [[e.id for e in made.source_task("train")] for made in (first, drawn, other)]
    assert [len(each) for each in names] == [5, 5, 5]
    assert len({tuple(sorted(each)) for each in names}) == 3
    target = drawn.training("sw", "train", "original")
    assert [e.id for e in target] == names[1]
    assert sources(target) == texts(drawn.source_task("train"))
    assert sorted(e.id for e in whole.source_task("train")) == sorted(row["id"] for row in make_rows("en", "train"))
    assert [e.id for e in drawn.source_task("dev")] == [e.id for e in first.source_task("dev")]  # without a limit


def test_what_a_seed_draws_stands_fast() -> None:
    """Results name the seed; the order was computed with sha256sum of `[7,"a"]` and so on."""
    rows = tuple(Example(name, (name,), 0, None, name) for name in "abcdef")
    whole = LanguageParts("six", TextTask("six", 1, ("x", "y")), {"en": ("train", "dev")}, lambda language, part: rows)
    drawn = with_draw(whole, 7, ["train"])
    assert [example.id for example in drawn.split("en", "train")] == list("decbfa")
    assert [example.id for example in drawn.split("en", "dev")] == list("abcdef")


def test_dev_cut_from_train_is_the_same_items_everywhere(lab: Lab) -> None:
    for files in lab.recipe["task"]["files"].values():
        del files["dev"]
    made = data(lab, {"task.dev_from_train": 4})
    english = {part: [e.id for e in made.source_task(part)] for part in ("train", "dev")}
    assert not set(english["train"]) & set(english["dev"])
    assert sorted(english["train"] + english["dev"]) == sorted(row["id"] for row in make_rows("en", "train"))
    for part, names in english.items():
        split = made.training("sw", part, "original")
        assert [e.id for e in split] == names
        assert sources(split) == texts(made.source_task(part))


def test_the_phrase_book_is_made_to_the_limit_and_brings_its_lexicon(lab: Lab) -> None:
    changes = {
        "task": {"set": "phrasebook", "limit": {"train": 30, "dev": 10, "test": 9}},
        "translation.to_source": {"engine": "dictionary", "learn": "set"},
    }
    made = data(lab, changes)
    assert [len(made.source_task("train")), len(made.test("es", "none"))] == [30, 9]
    split = made.test("es", "machine")
    assert all(source != text for source, text in zip(sources(split), texts(split), strict=True))
    with pytest.raises(UserError, match="brings no lexicon of its own"):
        data(lab, {"translation.to_source": {"engine": "dictionary", "learn": "set"}}).test("es", "machine")


def test_translations_are_kept_and_asked_for_once(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    first = sources(data(lab).test("es", "machine"))
    monkeypatch.setattr("crossflare.translation.engines.dictionary.Dictionary.translate", None)
    assert sources(data(lab).test("es", "machine")) == first


def test_empty_texts_are_counted_and_kept(lab: Lab) -> None:
    lab.edit("es", "test", lambda all_rows: all_rows[2].update(text=""))
    split = data(lab).test("es", "machine")
    assert len(split) == 7
    assert sources(split)[2] in ("", None)
    assert counts(split.examples)["empty"] == 1


def test_a_named_set_needs_its_folder(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected the folder that holds nusax, found none"):
        open_set(lab.spec({"task": {"set": "nusax", "folder": str(tmp_path / "nothing")}}))
