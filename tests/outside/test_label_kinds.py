"""Labels as numbers and truth values, from every kind of file, are the labels that a recipe names."""

import json
from pathlib import Path

import pytest

from crossflare.errors import UserError
from crossflare.experiment.data.opening import open_set
from crossflare.recipe.read import spec_from

RECIPE = """
name: case
task:
  files: {en: {train: a.KIND, dev: a.KIND}, sw: {train: a.KIND, dev: a.KIND, test: a.KIND}}
  texts: [text]
  label: label
  labels: LABELS
source: en
targets: [sw]
model: {name: minilm}
seeds: [0]
methods: {zero-shot: }
"""


def write(path: Path, labels: list[object]) -> None:
    rows = [{"text": f"row {number}", "label": label} for number, label in enumerate(labels)]
    if path.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        between = "," if path.suffix == ".csv" else "\t"
        path.write_text("".join(f"{a}{between}{b}\n" for a, b in [("text", "label"), *(row.values() for row in rows)]))


def read(folder: Path, kind: str, labels: str, more: str = "") -> tuple[tuple[str, ...], list[int | None]]:
    text = RECIPE.replace("KIND", kind).replace("LABELS", labels).replace("source: en", f"{more}source: en")
    spec = spec_from(text.strip(), folder)
    assert spec_from(spec.to_yaml(), folder) == spec
    data = open_set(spec)
    return data.task.labels, [example.label for example in data.split("sw", "test")]


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
@pytest.mark.parametrize(
    ("labels", "found", "names"),
    [
        ("[0, 1, 2]", [2, 0, 1, 1], ("0", "1", "2")),
        ("['0', '1', '2']", [2, 0, 1, 1], ("0", "1", "2")),
        ("[-1, 0, 1]", [1, -1, 0, 0], ("-1", "0", "1")),
        ("[false, true]", [True, False, True], ("false", "true")),
        ("['False', 'True']", [True, False, True], ("False", "True")),
    ],
)
def test_numbers_and_truth_values(
    tmp_path: Path, kind: str, labels: str, found: list[int], names: tuple[str, ...]
) -> None:
    write(tmp_path / f"a.{kind}", list(found))
    lower = [str(label).lower() for label in found]
    expected = [[name.lower() for name in names].index(label) for label in lower]
    assert read(tmp_path, kind, labels) == (names, expected)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_numbers_that_stand_for_names(tmp_path: Path, kind: str) -> None:
    write(tmp_path / f"a.{kind}", [1, 0, 1])
    more = "  aliases: {0: negative, 1: positive}\n"
    assert read(tmp_path, kind, "[negative, positive]", more) == (("negative", "positive"), [1, 0, 1])
    assert read(tmp_path, kind, "[0, 1]", "  aliases: {neg: 0}\n") == (("0", "1"), [1, 0, 1])


def test_the_same_label_as_a_number_and_as_text_is_one(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", [1, "1", 0])
    assert read(tmp_path, "jsonl", "[0, 1]")[1] == [1, 1, 0]


@pytest.mark.parametrize(
    ("labels", "value", "message"),
    [
        ("[0, 1]", True, r"a\.jsonl:2: label true is a truth value; known: 0, 1; say what it means, as in aliases: "),
        ("[false, true]", 1, r"a\.jsonl:2: label 1 is a number; known: false, true; say what it means"),
        ("[negative, positive]", 0, r"a\.jsonl:2: label 0 is a number; .* as in aliases: \{'0': negative\}"),
        ("[0, 1]", 1.0, r"a\.jsonl:2: label 1\.0 is a number; known: 0, 1"),
        ("[0, 1]", None, r"a\.jsonl:2: expected a label, found none"),
        ("['True', 'true', 'no']", False, r"a\.jsonl:2: label false is a truth value"),
    ],
)
def test_what_could_mean_several_things_is_named(tmp_path: Path, labels: str, value: object, message: str) -> None:
    write(tmp_path / "a.jsonl", ["1" if labels == "[0, 1]" else labels.strip("[]'").split(", ")[0].strip("'"), value])
    with pytest.raises(UserError, match=message):
        read(tmp_path, "jsonl", labels)


def test_what_the_message_says_can_be_done(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", [0, 1])
    with pytest.raises(UserError, match=r"as in aliases: \{'0': negative\}"):
        read(tmp_path, "jsonl", "[negative, positive]")
    assert read(tmp_path, "jsonl", "[negative, positive]", "  aliases: {'0': negative, '1': positive}\n")[1] == [0, 1]


def test_labels_that_are_one_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected at least two labels, each once"):
        read(tmp_path, "jsonl", "[1, '1']")
