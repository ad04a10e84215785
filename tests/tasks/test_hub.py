"""The hub is never asked: folders of the same layout stand in for it, written by `datasets` itself."""

from collections.abc import Iterator
from pathlib import Path

import datasets
import pytest

from crossflare.errors import UserError
from crossflare.tasks.hub import NUSAX_HUB, XNLI_HUB, HubSource, hub_set
from crossflare.tasks.label_sets import FOLDERS, NUSAX, XNLI
from crossflare.tasks.sets import KNOWN_SETS, load_set


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def put(root: Path, source: HubSource, language: str, split: str, columns: dict, names: list[str] | None) -> None:
    table = datasets.Dataset.from_dict(columns)
    if names is not None:
        table = table.cast_column("label", datasets.ClassLabel(names=names))
    path = root / source.files.format(config=source.configs[language], split=split).replace("*", "00000-of-00001")
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_parquet(path)


def test_nusax_is_read_by_id_with_the_file_s_own_label_names(tmp_path: Path) -> None:
    names = ["positive", "negative", "neutral"]
    put(tmp_path, NUSAX_HUB, "jv", "validation", {"id": ["5", "3"], "text": [" apik", ""], "label": [0, 2]}, names)
    put(tmp_path, NUSAX_HUB, "en", "validation", {"id": ["3", "5"], "text": ["so so", "good"], "label": [2, 0]}, names)
    data = hub_set(NUSAX, NUSAX_HUB, str(tmp_path))
    split = data.parallel("jv", "dev", "en")
    assert [(item.id, item.texts, item.label, item.source) for item in split] == [
        ("5", (" apik",), 2, ("good",)),
        ("3", ("",), 1, ("so so",)),
    ]


def test_xnli_is_read_by_row(tmp_path: Path) -> None:
    names = ["entailment", "neutral", "contradiction"]
    for language in ("en", "sw"):
        columns = {"premise": [f"{language} p"] * 2, "hypothesis": ["h0", "h1"], "label": [2, 0]}
        put(tmp_path, XNLI_HUB, language, "test", columns, names)
    split = hub_set(XNLI, XNLI_HUB, str(tmp_path)).parallel("sw", "test", "en")
    assert [(item.id, item.texts, item.label) for item in split] == [("0", ("sw p", "h0"), 2), ("1", ("sw p", "h1"), 0)]
    assert split.examples[0].source == ("en p", "h0")


@pytest.mark.parametrize(
    ("columns", "names", "says"),
    [
        (
            {"id": ["1"], "txt": ["a"], "label": [0]},
            ["negative", "x"],
            "expected columns text, label, id, found id, txt,",
        ),
        ({"id": ["1"], "text": ["a"], "label": [-1]}, ["negative", "x"], ":1: expected a label, found none"),
        ({"id": ["1"], "text": ["a"], "label": [1]}, ["negative", "angry"], ":1: unknown label 'angry'"),
        ({"id": ["1"], "text": ["a"], "label": [0]}, None, ":1: label 0 is a number"),
        ({"id": ["1"], "text": [None], "label": [0]}, ["negative", "x"], ":1: expected text in text, found (None,)"),
        ({"id": ["1", "1"], "text": ["a", "b"], "label": [0, 0]}, ["negative", "x"], ":2: the id '1' occurs twice"),
        ({"id": [], "text": [], "label": []}, None, "could not be fetched (ValueError: "),
    ],
)
def test_files_that_are_not_as_expected_are_refused(
    tmp_path: Path, columns: dict, names: list[str] | None, says: str
) -> None:
    put(tmp_path, NUSAX_HUB, "en", "train", columns, names)
    with pytest.raises(UserError) as caught:
        hub_set(NUSAX, NUSAX_HUB, str(tmp_path)).split("en", "train")
    assert says in str(caught.value)


def test_what_cannot_be_fetched_leads_to_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"could not be fetched \(.*pass the folder that holds nusax"):
        hub_set(NUSAX, NUSAX_HUB, str(tmp_path)).split("en", "train")

    def unplugged(*args: object, **settings: object) -> None:
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(datasets, "load_dataset", unplugged)
    with pytest.raises(UserError) as caught:
        load_set("xnli").split("sw", "test")
    address = "hf://datasets/facebook/xnli@b8dd5d7af51114dbda02c0e3f6133f332186418e/sw/test-*.parquet"
    assert str(caught.value) == (
        f"{address}: could not be fetched (ConnectionError: no route to host); check the network, or pass the folder"
        " that holds xnli"
    )


def test_every_folder_language_of_nusax_is_on_the_hub() -> None:
    assert set(NUSAX_HUB.configs) == set(FOLDERS)
    assert load_set("nusax").languages == tuple(sorted(FOLDERS))


def test_a_set_with_no_files_takes_no_folder(tmp_path: Path) -> None:
    assert load_set("phrasebook").languages == ("en", "es", "id", "sw")
    assert KNOWN_SETS["phrasebook"].fetch is None
    with pytest.raises(UserError, match="phrasebook is made, not read; give no folder"):
        load_set("phrasebook", tmp_path)
