"""Every part of every set that is on this machine has the rows and labels that an independent reader finds in it."""

import json
from collections import Counter
from pathlib import Path

import pandas
import pytest

from crossflare.tasks.sets import load_set

pytestmark = pytest.mark.data
SENTIMENT = ("negative", "neutral", "positive")
UNQUOTED = {"sep": "\t", "quoting": 3}
QUOTED = {"sep": "\t"}
TABLES = {
    "nusax": ("*/*.csv", {}, "label", "text"),
    "sib200": ("*/*.tsv", QUOTED, "category", "text"),
    "afrisenti": ("*.tsv", UNQUOTED, "label", "tweet"),
    "masakhanews": ("*/*.tsv", QUOTED, "category", "text"),
    "xnli": ("*/*.tsv", UNQUOTED, 2, 1),
}
"""Set -> its files, how pandas reads them, and the columns of the label and of a text."""


def counted(labels: list[str]) -> Counter[str]:
    return Counter("contradiction" if label == "contradictory" else label for label in labels)


@pytest.mark.parametrize("name", TABLES)
def test_rows_labels_and_texts_are_those_that_pandas_reads(data: Path, name: str) -> None:
    pattern, options, label, text = TABLES[name]
    opened = load_set(name, data / name)
    seen: set[Path] = set()
    for language in opened.languages:
        for part in opened.parts(language):
            split = opened.split(language, part)
            path = Path(split.examples[0].origin.rpartition(":")[0])
            seen.add(path)
            header = None if name == "xnli" and part != "train" else 0
            whole = pandas.read_csv(
                path, dtype=str, keep_default_na=False, header=header, lineterminator=None, **options
            )
            columns = [whole.columns[each] if isinstance(each, int) else each for each in (label, text)]
            found = counted([opened.task.labels[row.label or 0] for row in split])
            assert found == counted(list(whole[columns[0]])), path
            assert [row.texts[-1] for row in split] == list(whole[columns[1]]), path
    unread = {path for path in (data / name).glob(pattern) if "_mt" not in path.name or "train_mt" in path.name} - seen
    assert not unread, "a file of the release is not read"


@pytest.mark.parametrize("name", ["tydiqa", "xquad"])
def test_questions_are_those_that_json_reads(data: Path, name: str) -> None:
    opened = load_set(name, data / name)
    for language in opened.languages:
        for part in opened.parts(language):
            split = opened.split(language, part)
            path = Path(split.examples[0].origin.rpartition(":")[0])
            articles = json.loads(path.read_text(encoding="utf-8"))["data"]
            asked = [
                (item["id"], item["question"], paragraph["context"], [answer["text"] for answer in item["answers"]])
                for article in articles
                for paragraph in article["paragraphs"]
                for item in paragraph["qas"]
            ]
            assert [(row.id, *row.texts, [answer.text for answer in row.answers]) for row in split] == asked
