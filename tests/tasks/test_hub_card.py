"""A repository of data that no table knows: its card says its files and labels; from the hub's cache or a folder."""

from pathlib import Path
from typing import Any

import datasets
import pytest

from crossflare.errors import UserError
from crossflare.experiment.data.opening import open_set
from crossflare.recipe.read import spec_from
from crossflare.recipe.strict_yaml import GatheredError
from crossflare.tasks.dataset import DataSet
from hub_cache import hub_snapshot

CARD = """---
configs:
- config_name: eng
  data_files:
  - {split: train, path: eng/train.csv}
  - {split: validation, path: eng/dev.csv}
- config_name: xx.swahili
  data_files: {train: 'swa/train-*.csv', test: [swa/test.csv]}
- config_name: notes
  data_files: notes.csv
dataset_info:
- config_name: eng
  features:
  - {name: text, dtype: string}
  - name: label
    dtype: {class_label: {names: {'0': positive, '1': negative}}}
---
# A set
"""
RECIPE = """
name: mine
task: {{hub: {place}, texts: [text], label: label{more}}}
source: en
targets: [sw]
model: {{name: minilm}}
seeds: [0]
methods: {{zero-shot: }}
"""
NAMES = ", language_names: {sw: xx.swahili}"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with a loading script, which nothing may run."""
    made = tmp_path / "repository"
    files = {
        "README.md": CARD,
        "eng/train.csv": "text,label\nGood.,0\nBad.,1\n",
        "eng/dev.csv": "text,label\nFine.,0\n",
        "swa/train-1.csv": "text,label\nNzuri.,0\n",
        "swa/train-2.csv": "text,label\nMbaya.,1\n",
        "swa/test.csv": "text,label\nSawa.,0\n",
        "repository.py": "raise SystemExit('this is run')\n",
    }
    for name, text in files.items():
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text(text, encoding="utf-8")
    return made


def opened(place: str, more: str = NAMES) -> DataSet:
    return open_set(spec_from(RECIPE.format(place=place, more=more), Path("/nowhere")))


def rows(data: DataSet, language: str, part: str) -> list[tuple[str, str]]:
    return [(row.texts[0], data.task.labels[row.label or 0]) for row in data.split(language, part)]


def in_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder.parent / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    hub_snapshot(folder, folder.parent / "cache", "datasets--some--set")
    return "some/set"


@pytest.mark.parametrize("on_hub", [False, True])
def test_configurations_are_languages_and_the_card_names_labels(
    repository: Path, monkeypatch: pytest.MonkeyPatch, on_hub: bool
) -> None:
    place = in_cache(repository, monkeypatch) if on_hub else str(repository)
    data = opened(place)
    assert data.task.labels == ("positive", "negative")
    assert (data.parts("en"), data.parts("sw")) == (("train", "dev"), ("train", "test"))
    assert rows(data, "en", "train") == [("Good.", "positive"), ("Bad.", "negative")]
    assert rows(data, "sw", "train") == [("Nzuri.", "positive"), ("Mbaya.", "negative")]
    assert [row.source for row in data.parallel("sw", "train", "en")] == [("Good.",), ("Bad.",)]
    turned = opened(place, NAMES + ", labels: [negative, positive]")
    assert turned.task.labels == ("negative", "positive")
    assert rows(turned, "sw", "test") == [("Sawa.", "positive")]


def test_one_configuration_holds_all_languages_in_a_column(repository: Path) -> None:
    default = "- {config_name: default, data_files: [{split: train, path: 'data/*.parquet'}]}\n"
    card = f"---\nconfigs:\n{default}- {{config_name: notes, data_files: notes.csv}}\n---\n"
    (repository / "README.md").write_text(card)
    (repository / "data").mkdir()
    columns = {"lang": ["swa", "en", "swa"], "text": ["Nzuri.", "Good.", "Mbaya."], "label": [1, 1, 0]}
    table = datasets.Dataset.from_dict(columns).cast_column("label", datasets.ClassLabel(names=["bad", "good"]))
    table.to_parquet(repository / "data" / "train-0.parquet")
    data = opened(str(repository), ", language_column: lang, language_names: {sw: swa}, align: none")
    assert data.task.labels == ("bad", "good")
    assert rows(data, "sw", "train") == [("Nzuri.", "good"), ("Mbaya.", "bad")]
    assert rows(data, "en", "train") == [("Good.", "good")]


@pytest.mark.parametrize(
    ("card", "more", "says"),
    [
        (CARD, ", language_names: {en: english, sw: swahili}", "it has eng, xx.swahili, notes; say language_names"),
        ("# nothing\n", "", "its card names none; say language_names, or write its files under task.files as hf://"),
        (None, "", "expected a README.md that names configurations and files, found none"),
        ("---\na: [\n---\n", "", "its head is no YAML"),
        (CARD.replace("class_label", "other"), NAMES, "says no names of its labels; say task.labels"),
        (CARD, ", language_column: lang", "expected one configuration with all languages, found eng, xx.swahili"),
        (CARD.replace("eng/train.csv", "../../secret.csv"), ", language_names: {en: eng}", None),
        (CARD.replace("swa/test.csv", "gone.csv"), NAMES, "its card names files gone.csv, found none"),
    ],
)
def test_what_a_card_does_not_say_is_one_line(repository: Path, card: str | None, more: str, says: str | None) -> None:
    (repository / "README.md").unlink()
    if card is not None:
        (repository / "README.md").write_text(card, encoding="utf-8")
    if says is None:  # a path out of the repository is no file of it
        assert opened(str(repository), more).parts("en") == ("dev",)
        return
    with pytest.raises(UserError) as caught:
        opened(str(repository), more)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("task", "says"),
    [
        ("{hub: owner name, texts: [text], label: label}", "expected owner/name, or a folder"),
        ("{hub: a/b, label: label}", "task.texts: missing"),
        ("{hub: a/b, texts: [a], label: b, files: {en: {train: a.csv}}}", "hub has files of its own"),
        ("{set: nusax, revision: main}", "is of a repository on the hub; say hub"),
        ("{set: nusax, hub: a/b}", "says this itself; take out set or hub"),
    ],
)
def test_recipes_that_contradict_themselves(task: str, says: str) -> None:
    text = RECIPE.format(place="a/b", more="").replace("{hub: a/b, texts: [text], label: label}", task)
    with pytest.raises(GatheredError) as caught:
        spec_from(text, Path("/nowhere"))
    assert says in str(caught.value)


def test_a_recipe_says_it_again_as_it_was(repository: Path) -> None:
    more: Any = ", revision: v1, language_names: {swa: xx.swahili}"
    spec = spec_from(RECIPE.format(place="some/set", more=more), Path("/nowhere"))
    assert spec.task.language_names == {"sw": "xx.swahili"}
    assert spec.task.fetched
    assert not spec_from(RECIPE.format(place="./copy", more=""), Path("/nowhere")).task.fetched
    assert spec_from(spec.to_yaml(), Path("/else")) == spec
