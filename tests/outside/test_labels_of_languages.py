"""Languages with other labels than the source: fewer are fine, one that nobody teaches is named with its line."""

import json
from pathlib import Path
from typing import Any

import pytest

from crossflare.errors import UserError
from crossflare.experiment.data.rows import Data
from crossflare.recipe.read import spec_from

LABELS = ["business", "health", "sports"]


def write(path: Path, labels: list[str]) -> str:
    path.write_text("text,label\n" + "".join(f"text {number},{label}\n" for number, label in enumerate(labels)))
    return path.name


def checked(folder: Path, english: list[str], lingala: list[str], **task: Any) -> Data:
    en, ln = write(folder / "en.csv", english), write(folder / "ln.csv", lingala)
    files = {"en": {"train": en, "dev": en}, "ln": {"test": ln} | task.pop("more", {})}
    given = {"texts": ["text"], "label": "label", "labels": LABELS, "files": files, "align": "none", **task}
    recipe = {"name": "news", "task": given, "source": "en", "targets": ["ln"], "model": {"name": "minilm"}}
    data = Data(spec_from(json.dumps({**recipe, "seeds": [0], "methods": {"zero-shot": None}}), folder), folder)
    data.check()
    return data


def test_a_language_with_fewer_labels_is_read(tmp_path: Path) -> None:
    data = checked(tmp_path, LABELS, ["health", "sports", "health"])
    assert data.parts is not None
    assert data.parts["ln", "test"].rows == 3


def test_a_label_that_the_source_lacks_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"ln.csv:4: row '2': the label 'sports' is in no training row, in 'en'"):
        checked(tmp_path, ["business", "health"] * 2, ["health", "business", "sports"])
    with pytest.raises(UserError, match=r"ln.csv:2: unknown label 'weather': known: business, health, sports"):
        checked(tmp_path, LABELS, ["weather"])


def test_a_limit_hides_no_label_of_the_source(tmp_path: Path) -> None:
    checked(tmp_path, ["business", "health", "sports"], ["sports"], limit={"train": 2})
