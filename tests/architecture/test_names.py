"""A public name at the top of a module is a thing of its own: no other module defines one of the same name."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

ALLOWED = {
    "register": "each group of verbs adds its own to the command line, and so does peft's door to its tables",
    "plan": "a verb, named as users type it",
    "predict": "a verb",
    "pretrain": "a verb",
    "run": "a verb",
    "translate": "a verb",
    "check": "of a recipe as it is written, and of all that its runs will need",
    "Counts": "of the rows of a prediction, and of the steps of a run",
    "Made": "a step that a worker made, and the mark of a field whose text a function makes",
    "Reader": "of the log of a run, of a recipe's fields, and of an exported model by its users",
}
"""Name -> why it may stand in several modules."""
DEFINITIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def twice_defined(trees: dict[str, ast.Module]) -> dict[str, list[str]]:
    """Return each public class and function that several modules define at their top, with those modules."""
    places: dict[str, list[str]] = defaultdict(list)
    for module, tree in trees.items():
        for name in {node.name for node in tree.body if isinstance(node, DEFINITIONS)}:
            if not name.startswith("_"):
                places[name].append(module)
    return {name: modules for name, modules in places.items() if len(modules) > 1}


@pytest.fixture(scope="module")
def all_trees(trees: dict[str, ast.Module], package: Path) -> dict[str, ast.Module]:
    """The package's modules and the laboratory's."""
    laboratory = sorted((package.parent / "crossflare_lab").glob("*.py"))
    assert laboratory
    return trees | {f"crossflare_lab.{path.stem}": ast.parse(path.read_text("utf-8")) for path in laboratory}


def test_one_name_is_one_thing(all_trees):
    assert {name: modules for name, modules in twice_defined(all_trees).items() if name not in ALLOWED} == {}


def test_what_is_allowed_is_needed(all_trees):
    assert set(ALLOWED) - twice_defined(all_trees).keys() == set()


def test_control_a_second_definition_is_seen():
    code = {
        "a": "class Row: ...\ndef _own(): ...\ndef one():\n    def two(): ...",
        "b": "def _own(): ...\ndef two(): ...",
    }
    known = {name: ast.parse(text) for name, text in code.items()}
    assert twice_defined(known) == {}
    assert twice_defined(known | {"c": ast.parse("def Row(): ...")}) == {"Row": ["a", "c"]}
    assert twice_defined(known | {"c": ast.parse("async def two(): ...")}) == {"two": ["b", "c"]}
