"""`--languages N`: the first N targets of each cell, one rate, and everything else as it was."""

import dataclasses
from pathlib import Path

import pytest

from crossflare.cli import main
from crossflare.errors import UserError
from crossflare.recipe.first import first_languages
from crossflare.recipe.grid import Recipe, load_recipe

TEXT = """\
name: paper
task: {set: nusax}
source: en
targets: [ace, bug, jv]
model: {name: minilm}
seeds: [0, 1]
stage2: {lr: [1e-3, 1e-4]}
translation: {to_source: {engine: parallel}}
methods:
  lora: {lr: [5e-4, 1e-3]}
  flare: {languages: [bug, jv]}
  far: {kind: flare, trained_in: jv}
  late: {kind: flare, languages: [jv]}
  later: {kind: ensemble, of: late, languages: [jv]}
grid:
  data: {all: , few: {seeds: [0]}}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    (tmp_path / "grid.yaml").write_text(TEXT)
    return load_recipe(tmp_path / "grid.yaml", only=["data=all"])


def test_targets_rates_and_what_hangs_on_them(recipe: Recipe) -> None:
    short = first_languages(recipe, 2)
    assert short.name == "paper-first-2"
    assert (short.axes, len(short.cells), [cell.name for cell in short.chosen]) == (recipe.axes, 2, ["all"])
    spec = short.chosen[0].spec
    assert spec.targets == ("ace", "bug")
    assert spec.stage2.lrs == (1e-3,)
    assert spec.method("lora").lr == 5e-4
    assert spec.languages(spec.method("flare")) == ("bug",)
    assert spec.method("far").trained_in == "ace"
    assert [method.name for method in spec.methods] == ["lora", "flare", "far"]  # the others have no language left
    before = recipe.chosen[0].spec
    free = {"name", "targets", "stage2", "methods"}
    for field in dataclasses.fields(before):
        assert field.name in free or getattr(spec, field.name) == getattr(before, field.name)


def test_what_is_no_longer_than_that_keeps_its_name(recipe: Recipe) -> None:
    once = first_languages(recipe, 3)
    assert once.name == "paper-first-3"  # of several rates one is taken
    assert first_languages(once, 3) is once


def test_none_is_refused_in_one_line(recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="--languages 0: expected at least 1; leave the option out for all languages"):
        first_languages(recipe, 0)
    assert main(["run", str(tmp_path / "grid.yaml"), "--dry-run", "--languages", "0"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
