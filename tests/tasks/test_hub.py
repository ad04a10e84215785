"""The hub is never asked: its cache is filled with files as `datasets` writes them, and nothing may be fetched."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import pytest

from crossflare.errors import UserError
from crossflare.tasks.dataset import DataSet
from crossflare.tasks.example import Answer
from crossflare.tasks.hub import address
from crossflare.tasks.layout import FilePart, paths_of
from crossflare.tasks.own import own_set
from crossflare.tasks.released import Release
from crossflare.tasks.sets import KNOWN_SETS, load_set
from hub_cache import hub_snapshot


class Hub:
    """A cache of the hub with parts of named sets in it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, name: str, language: str, part: str, columns: Mapping[str, Any], names: list[str] | None) -> None:
        """Put one part of a set into its repository, as Parquet."""
        table = datasets.Dataset.from_dict(dict(columns))
        if names is not None:
            table = table.cast_column("label", datasets.ClassLabel(names=names))
        release = KNOWN_SETS[name].release
        assert release is not None
        assert release.hub is not None
        own = (release.hub.languages or release.names())[language]
        (pattern,) = paths_of(release.hub.files[part])
        self.lay(release, pattern.as_posix().format(language=own).replace("*", "00000-of-00001"), table)

    def lay(self, release: Release, name: str, table: datasets.Dataset | str) -> None:
        """Put a file into a set's repository."""
        assert release.hub is not None
        path = self.root / release.task.name / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(table, str):
            path.write_text(table, encoding="utf-8")
        else:
            table.to_parquet(path)
        folder = "datasets--" + release.hub.repository.replace("/", "--")
        hub_snapshot(self.root / release.task.name, self.root / "cache", folder, release.hub.revision)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return Hub(tmp_path)


def test_nusax_is_read_by_id_with_the_file_s_own_label_names(hub: Hub) -> None:
    names = ["positive", "negative", "neutral"]
    hub.put("nusax", "jv", "dev", {"id": ["5", "3"], "text": [" apik", ""], "label": [0, 2]}, names)
    hub.put("nusax", "en", "dev", {"id": ["3", "5"], "text": ["so so", "good"], "label": [2, 0]}, names)
    split = load_set("nusax").parallel("jv", "dev", "en")
    assert [(item.id, item.texts, item.label, item.source) for item in split] == [
        ("5", (" apik",), 2, ("good",)),
        ("3", ("",), 1, ("so so",)),
    ]


def test_xnli_is_read_by_row(hub: Hub) -> None:
    names = ["entailment", "neutral", "contradiction"]
    for language in ("en", "sw"):
        columns = {"premise": [f"{language} p"] * 2, "hypothesis": ["h0", "h1"], "label": [2, 0]}
        hub.put("xnli", language, "test", columns, names)
    split = load_set("xnli").parallel("sw", "test", "en")
    assert [(item.id, item.texts, item.label) for item in split] == [("0", ("sw p", "h0"), 2), ("1", ("sw p", "h1"), 0)]
    assert split.examples[0].source == ("en p", "h0")


def test_tables_on_the_hub_are_read_as_those_of_a_folder(hub: Hub, tmp_path: Path) -> None:
    release = KNOWN_SETS["sib200"].release
    assert release is not None
    header = "index_id\tcategory\ttext\n"
    for code, text in (("eng_Latn", '"They said ""no""."'), ("swh_Latn", "Walisema hapana.")):
        hub.lay(release, f"data/{code}/train.tsv", f"{header}7\ttravel\t{text}\n8\thealth\tok\n")
    data = load_set("sib200")
    assert data.parallel("sw", "train", "en").examples[0].source == ('They said "no".',)
    folder = load_set("sib200", tmp_path / "sib200" / "data")
    assert folder.languages == ("en", "sw")
    assert data.split("sw", "train").digest == folder.split("sw", "train").digest


def asked(*items: tuple[str, str, str, str]) -> dict[str, Any]:
    """Return columns of questions (id, question, context, answer), each answer at the start of its context."""
    keys, questions, contexts, answers = zip(*items, strict=True)
    found = [{"text": [text], "answer_start": [0]} for text in answers]
    return {"id": list(keys), "question": list(questions), "context": list(contexts), "answers": found}


def test_tydiqa_on_the_hub_is_one_file_of_all_languages(hub: Hub) -> None:
    rows = asked(("swahili--1-0", "?", "moja mbili", "moja"), ("english-2-1", "?", "one two", "one"))
    hub.put("tydiqa", "sw", "test", rows, None)
    data = load_set("tydiqa")
    assert data.parts("fi") == ("train", "test")
    for language, key, answer in (("sw", "swahili--1-0", "moja"), ("en", "english-2-1", "one")):
        (example,) = data.split(language, "test")
        assert (example.id, example.answers) == (key, (Answer(answer, 0),))
    assert [item.source for item in data.parallel("sw", "test", "en")] == [None]
    with pytest.raises(UserError, match=r"expected rows where id: telugu-\*, found none, but id: swahili--1-0"):
        data.split("te", "test")


def test_xquad_on_the_hub(hub: Hub) -> None:
    for language, word in (("en", "one"), ("es", "uno")):
        hub.put("xquad", language, "test", asked(("1", f"{language} 1?", word, word)), None)
    split = load_set("xquad").parallel("es", "test", "en")
    assert [(item.texts, item.source, item.answers) for item in split] == [
        (("es 1?", "uno"), ("en 1?", "one"), (Answer("uno", 0),))
    ]
    hub.put("xquad", "de", "test", asked(("1", "?", "ein", "zwei")), None)
    with pytest.raises(UserError, match="question '1': the answer 'zwei' is not at answer_start 0"):
        load_set("xquad").split("de", "test")
    hub.put("xquad", "ru", "test", {"id": ["1"], "question": ["?"]}, None)
    with pytest.raises(UserError, match="expected a column 'context'"):
        load_set("xquad").split("ru", "test")


@pytest.mark.parametrize(
    ("columns", "names", "says"),
    [
        ({"id": ["1"], "txt": ["a"], "label": [0]}, ["negative", "x"], ":1: expected a column 'text': did you mean"),
        ({"id": ["1"], "text": ["a"], "label": [-1]}, ["negative", "x"], ":1: label -1 is a number"),
        ({"id": ["1"], "text": ["a"], "label": [1]}, ["negative", "angry"], ":1: unknown label 'angry'"),
        ({"id": ["1"], "text": ["a"], "label": [0]}, None, ":1: label 0 is a number"),
        ({"id": ["1"], "text": [None], "label": [0]}, ["negative", "x"], ":1: column 'text' should hold text, found"),
        ({"id": ["1", "1"], "text": ["a", "b"], "label": [0, 0]}, ["negative", "x"], ":2: the id '1' is taken by"),
        ({"id": [], "text": [], "label": []}, None, "expected at least one row, found none"),
    ],
)
def test_files_that_are_not_as_expected_are_refused(
    hub: Hub, columns: dict[str, Any], names: list[str] | None, says: str
) -> None:
    hub.put("nusax", "en", "train", columns, names)
    with pytest.raises(UserError) as caught:
        load_set("nusax").split("en", "train")
    assert says in str(caught.value)


def test_what_cannot_be_fetched_is_one_line(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        UserError, match=r"could not be fetched \(.*take a copy of the files and name its folder"
    ) as said:
        load_set("nusax").split("en", "train")
    assert "\n" not in str(said.value)
    hub.put("nusax", "jv", "dev", {"id": ["5"], "text": ["apik"], "label": [0]}, ["positive", "negative"])
    with pytest.raises(UserError, match=r"NusaX-senti@refs/convert/parquet/eng/train/\*\.parquet: .* no such file"):
        load_set("nusax").split("en", "train")

    def unplugged(*args: object, **settings: object) -> None:
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr("huggingface_hub.snapshot_download", unplugged)
    with pytest.raises(UserError) as caught:
        load_set("xnli").split("sw", "test")
    place = "hf://datasets/facebook/xnli@b8dd5d7af51114dbda02c0e3f6133f332186418e/sw/test-*.parquet"
    assert str(caught.value).startswith(f"{place}: could not be fetched (ConnectionError: no route to host); check the")


def test_own_files_may_lie_on_the_hub(hub: Hub, tmp_path: Path) -> None:
    """One by its address beside one on this machine; a column says which rows of it are of a language."""
    release = KNOWN_SETS["xnli"].release
    assert release is not None
    assert release.hub is not None
    hub.lay(release, "all/rows.csv", "lang,text,label\nsw,nzuri,good\nen,nice,good\nsw,mbaya,bad\n")
    place = address(release.hub.repository, release.hub.revision, "all/*.csv")
    (tmp_path / "en.csv").write_text("text,label\nnice,good\nugly,bad\n")
    files = {"en": {"train": "en.csv"}, "sw": {"train": FilePart(path=place, where={"lang": "sw"})}}
    data: DataSet = own_set("mine", files, ("good", "bad"), base=tmp_path)
    assert [(row.texts, row.source) for row in data.parallel("sw", "train", "en")] == [
        (("nzuri",), ("nice",)),
        (("mbaya",), ("ugly",)),
    ]
    wrong = own_set("mine", {"sw": {"train": "hf://datasets/nobody"}}, ("good", "bad"))
    with pytest.raises(UserError, match="expected hf://datasets/OWNER/NAME/PATH"):
        wrong.split("sw", "train")


def test_a_set_that_is_nowhere_else_asks_for_its_folder(tmp_path: Path) -> None:
    assert load_set("phrasebook").languages == ("en", "es", "id", "sw")
    assert not KNOWN_SETS["phrasebook"].on_hub
    with pytest.raises(UserError, match="phrasebook is made, not read; give no folder"):
        load_set("phrasebook", tmp_path)
    with pytest.raises(UserError, match="afrisenti: expected the folder that holds it, got none"):
        load_set("afrisenti")
