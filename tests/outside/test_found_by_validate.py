"""What can be read is read under any name, and what cannot work is refused with the recipe, not after training."""

import json
from pathlib import Path

import pytest

from crossflare.errors import UserError
from crossflare.recipe.read import spec_from
from crossflare.tasks.squad import read_questions

RECIPE = """
name: case
task:
  files: {en: {train: a.csv, dev: a.csv}, sw: {train: a.csv, dev: a.csv, test: a.csv}}
  texts: [text]
  label: label
  labels: [negative, positive]
source: en
targets: [sw]
model: {name: minilm}
seeds: [0]
translation: {to_source: {engine: dictionary, learn: set}}
methods: {translate-test: }
"""


def test_a_lexicon_that_no_set_brings_is_refused_with_the_recipe(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"recipe:11: translation\.to_source\.learn: a set of own files brings no lexicon"
    ):
        spec_from(RECIPE.strip(), tmp_path)
    spec_from(RECIPE.strip().replace("learn: set", "learn: train"), tmp_path)


@pytest.mark.parametrize("rows", [1, 2])
def test_json_lines_named_json_are_read(tmp_path: Path, rows: int) -> None:
    row = {"question": "where?", "context": "in Lima", "answers": {"text": ["Lima"], "answer_start": [3]}}
    lines = "".join(json.dumps({"id": f"q{number}", **row}) + "\n" for number in range(rows))
    for name in ("a.json", "a.jsonl"):
        (tmp_path / name).write_text(lines)
    one, other = read_questions(tmp_path / "a.json"), read_questions(tmp_path / "a.jsonl")
    assert [(e.id, e.texts, e.answers) for e in one] == [(e.id, e.texts, e.answers) for e in other]
    assert len(one) == rows


def test_a_set_on_one_line_is_still_a_set(tmp_path: Path) -> None:
    asked = {"id": "q", "question": "where?", "answers": [{"text": "Lima", "answer_start": 3}]}
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"data": [{"paragraphs": [{"context": "in Lima", "qas": [asked]}]}]}))
    assert [example.id for example in read_questions(path)] == ["q"]
