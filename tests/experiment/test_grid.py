"""A grid is its cells: each a whole recipe, read as strictly, its mistakes named with their line."""

from pathlib import Path

import pytest

from crossflare.errors import UserError
from crossflare.recipe.grid import Recipe, load_recipe
from crossflare.recipe.read import load_spec
from crossflare.recipe.strict_yaml import GatheredError

BASE = """\
name: paper
task: {set: nusax, limit: {train: 30}}
source: en
targets: [ace, bug]
model: {name: minilm}
seeds: [0, 1]
stage2: {epochs: 3, r: 8}
translation: {to_source: {engine: parallel}}
methods:
  lora:
  flare: {lead: 0}
"""
GRID = """\
grid:
  data:
    small:
    one: {targets: [ace]}
  rank:
    r4: {stage2: {r: 4}}
    r16: {stage2: {r: 16}, methods: {flare: {lead: 1}, zero-shot: }}
"""


def load(folder: Path, text: str, *overrides: str, only: tuple[str, ...] = ()) -> Recipe:
    (folder / "grid.yaml").write_text(text)
    return load_recipe(folder / "grid.yaml", overrides, only)


def mistakes(folder: Path, text: str, *overrides: str) -> list[str]:
    with pytest.raises(GatheredError) as caught:
        load(folder, text, *overrides)
    return [line.removeprefix(f"{folder}/") for line in caught.value.lines]


def test_cells_are_the_product_in_the_order_of_the_file(tmp_path: Path) -> None:
    recipe = load(tmp_path, BASE + GRID)
    assert [cell.name for cell in recipe.cells] == ["small,r4", "small,r16", "one,r4", "one,r16"]
    assert recipe.cells[2].values == {"data": "one", "rank": "r4"}
    assert recipe.name == "paper"
    assert recipe.axes == {"data": ("small", "one"), "rank": ("r4", "r16")}
    assert recipe.chosen == recipe.cells


def test_a_cell_is_the_recipe_with_its_values_written_in(tmp_path: Path) -> None:
    """Mappings merge, anything else replaces: what a person would write for the cell alone."""
    recipe = load(tmp_path, BASE + GRID)
    alone = BASE.replace("[ace, bug]", "[ace]").replace("r: 8", "r: 16").replace("lead: 0", "lead: 1")
    (tmp_path / "alone.yaml").write_text(alone + "  zero-shot:\n")
    assert recipe.cells[3].spec == load_spec(tmp_path / "alone.yaml")
    assert recipe.cells[0].spec.stage2.epochs == 3  # beside what was changed
    assert recipe.cells[0].spec.task == recipe.cells[3].spec.task
    assert recipe.cells[0].spec.method("flare").lead == 0  # another cell's values leave no trace


def test_a_plain_recipe_has_one_cell_without_a_name(tmp_path: Path) -> None:
    recipe = load(tmp_path, BASE, "seeds=[3]")
    assert [(cell.name, cell.spec) for cell in recipe.cells] == [("", load_spec(tmp_path / "grid.yaml", ["seeds=[3]"]))]


def test_overrides_hold_in_every_cell_whatever_its_values_say(tmp_path: Path) -> None:
    recipe = load(tmp_path, BASE + GRID, "stage2.r=5", "seeds=[7]", "grid.data.one.targets=[bug]")
    assert {(cell.spec.stage2.r, cell.spec.seeds) for cell in recipe.cells} == {(5, (7,))}
    assert recipe.cells[2].spec.targets == ("bug",)


def test_only_some_cells(tmp_path: Path) -> None:
    def names(*only: str) -> list[str]:
        recipe = load(tmp_path, BASE + GRID, only=only)
        assert len(recipe.cells) == 4
        return [cell.name for cell in recipe.chosen]

    assert names("rank=r4") == ["small,r4", "one,r4"]
    assert names("data=one,rank=r16") == ["one,r16"]
    assert names("data=one", "rank=r16") == ["one,r16"]
    assert names("rank=r4,rank=r16", "data=small") == ["small,r4", "small,r16"]
    assert names("one,r16") == ["one,r16"]  # the name of a cell
    assert names("one", "rank=r4") == ["one,r4"]


@pytest.mark.parametrize(
    ("only", "said"),
    [
        ("rnk=r4", "--only rnk=r4: unknown axis 'rnk': did you mean 'rank'?"),
        ("rank=r5", "--only rank=r5: rank has no value 'r5': known: r16, r4"),
        ("rank", "--only rank: expected axis=value; axes are data, rank"),
        ("one,r61", "--only r61: no cell of that name, and no axis=value: did you mean 'r16'?"),
    ],
)
def test_only_what_there_is(tmp_path: Path, only: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        load(tmp_path, BASE + GRID, only=(only,))
    assert said in str(caught.value)
    with pytest.raises(UserError, match="the recipe has no grid"):
        load(tmp_path, BASE, only=(only,))


@pytest.mark.parametrize(
    ("grid", "said"),
    [
        ("grid:\n", ["grid.yaml:12: grid: expected axis -> value -> changes, got nothing (null); name an axis, or take "
                     "grid out"]),
        ("grid: {}\n", ["grid.yaml:12: grid: expected axis -> value -> changes, got a mapping of 0; name an axis, or "
                        "take grid out"]),
        ("grid:\n  rank: {}\n", ["grid.yaml:13: grid.rank: expected at least one value with its changes, got a mapping "
                                 "of 0"]),
        ("grid:\n  rank: [4, 8]\n", ["grid.yaml:13: grid.rank: expected at least one value with its changes, got a "
                                     "list of 2"]),
        ("grid:\n  rank: {r4: 4}\n", ["grid.yaml:13: grid.rank.r4: expected changes (keys with values under it), "
                                      "got 4"]),
        ("grid:\n  rank:\n    r,4: {stage2: {r: 4}}\n", [
            "grid.yaml:14: grid.rank.r,4: expected letters, digits and . _ + - only (it names a folder)"]),
        ("grid:\n  rank:\n    r4: {stage2: {r: 4}}\n    R4: {stage2: {r: 5}}\n", [
            "grid.yaml:14: grid.rank.r4: two cells would have one folder where r4 and R4 are the same name; choose "
            "another"]),
        ("grid:\n  rank:\n    r4: {stage2: {r: 4}}\n    r4: {stage2: {r: 5}}\n", [
            "grid.yaml:15: grid.rank.r4: the key stands here twice; keep one"]),
        ("grid:\n  rank:\n    r4: {stage2: {r: 4}}\n    four: {stage2: {r: 4}}\n", [
            "grid.yaml:12: grid: the cells r4 and four are the same recipe; take one of them out"]),
        ("grid:\n  rank:\n    r4: {name: other}\n", [
            "grid.yaml:14: grid.rank.r4.name: all cells are one run with one name; take it out"]),
        ("grid:\n  rank:\n    r4: {grid: {}}\n", [
            "grid.yaml:14: grid.rank.r4.grid: a grid within a grid is not read; add an axis"]),
        ("grid:\n  rank:\n    r4: {stage2: {r: 4}}\n  stage:\n    long:\n      stage2: {r: 9}\n    none:\n", [
            "grid.yaml:17: stage2.r: set by rank=r4 and by stage=long; say it in one of them"]),
    ],
)  # fmt: skip
def test_a_grid_that_is_none(tmp_path: Path, grid: str, said: list[str]) -> None:
    assert mistakes(tmp_path, BASE + grid) == said


def test_too_many_cells_are_refused_before_they_are_read(tmp_path: Path) -> None:
    axes = "".join(f"  a{n}: {{{', '.join(f'v{v}: ' for v in range(10))}}}\n" for n in range(8))
    (said,) = mistakes(tmp_path, f"{BASE}grid:\n{axes}")
    assert said.endswith("these axes make 100,000,000 cells; at most 1,000 are run as one; split the recipe")


def test_the_same_value_twice_is_no_contradiction(tmp_path: Path) -> None:
    grid = "grid:\n  a: {x: {stage2: {r: 4, epochs: 1}}}\n  b: {y: {stage2: {r: 4, dropout: 0.1}}}\n"
    assert load(tmp_path, BASE + grid).cells[0].spec.stage2.r == 4


def test_all_mistakes_of_all_cells_at_once_each_once_with_its_cells(tmp_path: Path) -> None:
    text = BASE.replace("epochs: 3", "epoch: 3") + GRID.replace("small:", "small: {stage3: {}}").replace(
        "r: 16", "r: many"
    ).replace("targets: [ace]", "targets: [ace, ace]")
    said = mistakes(tmp_path, text, "seeds=[x]")
    assert [line.partition(" (known")[0] for line in said] == [
        "grid.yaml:7: stage2.epoch: unknown key: did you mean 'epochs'?",
        "grid.yaml:14: stage3: unknown key: did you mean 'stage2'?",
        "grid.yaml:15: targets.0: 'ace' stands here 2 times; keep one (cells with data=one)",
        "grid.yaml:18: stage2.r: expected a whole number, got 'many' (cells with rank=r16)",
        "--set seeds=[x]: seeds.0: expected a whole number, got 'x'",
    ]
    assert said[1].endswith("(cells with data=small)")


def test_a_mistake_of_one_cell_names_it(tmp_path: Path) -> None:
    grid = (
        "grid:\n  one: {a: {methods: {zero-shot: {of: lora}}}, b: }\n"
        "  two: {c: {methods: {zero-shot: {kind: flare+source}}}, d: }\n"
    )
    said = mistakes(tmp_path, BASE + grid)
    assert any(line.startswith("grid.yaml:13: ") and line.endswith("(cell a,c)") for line in said), said
