"""Recipes as tired people and machines write them: every mistake is a line with its place, and none takes long."""

import json
from pathlib import Path
from typing import Any

import pytest

from crossflare.cli import main
from crossflare.errors import UserError
from crossflare.recipe.grid import load_recipe
from crossflare.recipe.read import load_spec, spec_from
from crossflare.recipe.schema import recipe_schema
from crossflare.recipe.strict_yaml import LIMIT, GatheredError, document_of, read

GOOD = """\
name: small
task: {set: phrasebook}
source: en
targets: [sw]
model: {name: minilm}
seeds: [0]
methods: {lora: }
"""
TWENTY = """\
name: a/b
version: 0
task:
  set: phrasebok
  limit: {train: 0, dev: many, tset: 3}
source: english!
targets: [sw, swahil, sw]
model: {nmae: minilm}
seeds: ["0", 1.5, true]
stage1: {lr: fast, epochs: -1, warmup: 1}
stage2:
  patience: -1
  precision: fp61
methods:
  lora: {r: '8', colour: red}
  flair:
  flare:
    fusion: addrelu
    lead: 2
  ensemble: {of: loar}
"""


def lines_of(text: str, folder: Path) -> list[str]:
    path = folder / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(GatheredError) as caught:
        load_spec(path)
    return [line.removeprefix(f"{path}:") for line in caught.value.lines]


def test_twenty_mistakes_are_twenty_lines_in_their_order(tmp_path: Path) -> None:
    """Those of types and those that need several values to be seen stand in one list."""
    found = lines_of(TWENTY, tmp_path)
    assert [": ".join(line.split(": ")[:2]) for line in found] == [
        "1: name", "2: version", "4: task.set", "5: task.limit.train", "5: task.limit.dev", "5: task.limit.tset",
        "6: source", "7: targets.1", "8: model.nmae", "8: model.name", "9: seeds.0", "9: seeds.1", "9: seeds.2",
        "10: stage1.lr", "10: stage1.epochs", "10: stage1.warmup", "12: stage2.patience", "13: stage2.precision",
        "15: methods.lora.r", "15: methods.lora.colour", "16: methods.flair.kind", "17: methods.flare",
        "18: methods.flare.fusion", "19: methods.flare.lead", "20: methods.ensemble.of", "20: methods.ensemble",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stage1: &it {lr: 1e-3, inner: *it}", "8: stage1.inner: aliases (*name) are not read here"),
        ("base: &it {lr: 1e-3}\nstage1: {<<: *it}", "9: stage1.<<: aliases (*name) are not read here"),
        ("stage1: {lr: 1e-3}\nstage1: {lr: 1e-2}", "9: stage1: the key stands here twice; keep one"),
        ("stage1: {lr: 1e-3, lr: 1e-2}", "8: stage1.lr: the key stands here twice; keep one"),
        ("stage1: {epochs: '3'}", "8: stage1.epochs: expected a whole number, got '3'; take the quotes away"),
        ("stage1: {activation_checkpointing: 1}", "8: stage1.activation_checkpointing: expected true or false, got 1"),
        ("version: 2", "8: version: the recipe is of version 2, this crossflare reads 1; upgrade crossflare"),
        ("include: other.yaml", "8: include: unknown key: known: "),
        ("translation: {native: 1000000000}", "8: translation.native: expected at least 0 and at most 1000, got 10000"),
    ],
)
def test_what_yaml_allows_and_a_recipe_does_not(text: str, said: str, tmp_path: Path) -> None:
    assert any(line.startswith(said) for line in lines_of(GOOD + text + "\n", tmp_path))


def test_aliases_of_aliases_are_not_multiplied(tmp_path: Path) -> None:
    """Nine levels of nine aliases each would be a thousand million values."""
    levels = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    found = lines_of(GOOD + "\n".join(["a0: &a0 [lol]", *levels]) + "\n", tmp_path)
    assert sum("aliases (*name) are not read here" in line for line in found) == 81


def test_a_mapping_that_holds_itself_is_refused() -> None:
    recipe: dict[str, Any] = {"name": "x"}
    recipe["stage1"] = recipe
    with pytest.raises(UserError, match="nested too deeply; a mapping may not hold itself"):
        load_recipe(recipe)
    with pytest.raises(UserError, match="nested too deeply"):
        document_of({"a": recipe}, "recipe")


def test_ten_megabytes_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(GOOD + "#" * 10_000_000)
    monkeypatch.setattr("crossflare.recipe.strict_yaml.parse", lambda *_: pytest.fail("it was parsed"))
    with pytest.raises(UserError) as caught:
        read(path)
    assert str(caught.value) == (
        f"{path}: expected a recipe of at most 250,000 bytes, got more; keep rows in files of their own"
    )
    monkeypatch.undo()
    path.write_text(GOOD + "#" * (LIMIT - len(GOOD)))
    assert load_spec(path).name == "small"


def test_the_version_is_said_or_not() -> None:
    spec = spec_from(GOOD, Path("/"))
    assert spec_from("version: 1\n" + GOOD, Path("/")) == spec
    assert spec.resolved()["version"] == 1
    assert spec_from(spec.to_yaml().replace("version: 1\n", ""), Path("/")) == spec, "a run folder of before"


def test_an_apertium_may_go_through_several_languages() -> None:
    text = GOOD.replace("{lora: }", "{flare: }") + "translation: {to_source: {engine: apertium, via: [es, ca]}}\n"
    spec = spec_from(text, Path("/"))
    assert spec.translation.to_source is not None
    assert spec.translation.to_source.options["via"] == ["es", "ca"]
    assert spec_from(spec.to_yaml(), Path("/")) == spec


ROOT = Path(__file__).parents[2]
RECIPES = sorted([*(ROOT / "recipes").rglob("*.yaml"), *(ROOT / "src/crossflare/recipes").glob("*.yaml")])


@pytest.fixture(scope="module")
def schema() -> Any:
    validators = pytest.importorskip("jsonschema")
    made = json.loads(json.dumps(recipe_schema()))
    validators.Draft7Validator.check_schema(made)
    return validators.Draft7Validator(made)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_of_the_project_fits_the_schema(path: Path, schema: Any) -> None:
    assert [error.message for error in schema.iter_errors(read(path).value)] == []


@pytest.mark.parametrize(
    "change",
    [
        "stage1: {epohcs: 3}", "stage1: {epochs: '3'}", "stage1: {epochs: -1}", "stage1: {lr: [0]}",
        "seeds: [-1]",
        "methods: {flair: {kind: flair}}", "methods: {flare: {fusion: addrelu}}", "methods: {}",
        "task: {set: xlni}", "translation: {to_source: {engine: dictionary, lexicn: a}}", "source: 3",
        "translation: {to_source: {engine: nllb}}", "methods: {flare: {adapter: {fuse: true}}}", "model: ",
    ],
)  # fmt: skip
def test_control_wrong_recipes_do_not_fit_it(change: str, schema: Any, tmp_path: Path) -> None:
    good, wrong = tmp_path / "good.yaml", tmp_path / "wrong.yaml"
    good.write_text(GOOD)
    wrong.write_text("".join(line for line in GOOD.splitlines(True) if not line.startswith(change.split(":")[0])))
    wrong.write_text(wrong.read_text() + change + "\n")
    assert schema.is_valid(read(good).value)
    assert not schema.is_valid(read(wrong).value)


def test_a_schema_explains_every_key_that_the_code_explains(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    shown = json.loads(capsys.readouterr().out)
    texts, mapping = shown["properties"]["stage1"]["anyOf"]
    assert texts == {"enum": ["none"]}
    stage = mapping["properties"]
    assert stage["warmup"]["description"] == "Part of the steps in which the rate rises."
    assert (stage["warmup"]["minimum"], stage["warmup"]["exclusiveMaximum"]) == (0, 1)
    assert shown["properties"]["task"]["properties"]["label"]["description"] == "The column of the label."
