"""The tour of the code names what is there: its paths exist, its names stand in the files they are said to be in."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from docs.test_links import FENCE, ROOT, broken

TOUR = ROOT / "docs" / "tour.md"
PIECE = re.compile(r"\[[^\]]*\]\((?P<link>[^)\s]+)\)|`(?P<code>[^`]+)`")
NAME = re.compile(r"[A-Za-z_]\w*")


@cache
def defined(path: Path) -> frozenset[str]:
    """Return the names of functions, classes, methods, and of what modules and classes assign."""
    found: set[str] = set()
    waiting: list[ast.Module | ast.ClassDef] = [ast.parse(path.read_text("utf-8"))]
    while waiting:
        for node in waiting.pop().body:
            targets: list[ast.expr] = []
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found.add(node.name)
            elif isinstance(node, ast.ClassDef):
                found.add(node.name)
                waiting.append(node)
            elif isinstance(node, ast.Assign):
                targets = node.targets
            elif isinstance(node, ast.AnnAssign):
                targets = [node.target]
            found |= {each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name)}
    return frozenset(found)


def looked_up(page: Path, text: str) -> list[tuple[Path, str]]:
    """Return names in backticks, each with the Python file that was linked last in its paragraph, item or row."""
    pairs: list[tuple[Path, str]] = []
    for block in re.split(r"\n\s*\n|\n(?=\d+\. |\|)", FENCE.sub("", text)):
        file: Path | None = None
        for piece in PIECE.finditer(block):
            if link := piece["link"]:
                target = (page.parent / link.partition("#")[0]).resolve()
                file = target if target.suffix == ".py" else None
            elif file is not None and NAME.fullmatch(piece["code"]):
                pairs.append((file, piece["code"]))
    return pairs


def wrong(page: Path, text: str) -> list[str]:
    """Return the links and paths that lead nowhere, and the names that are not defined where they are said to be."""
    paths = [code for code in re.findall(r"`([^`\s]+/[^`\s]*)`", text) if not (ROOT / code).exists()]
    names = [
        f"{file.name}: {name}" for file, name in looked_up(page, text) if file.is_file() and name not in defined(file)
    ]
    return [*broken(page, text), *paths, *names]


def test_what_the_tour_names_is_there() -> None:
    if not TOUR.is_file():
        pytest.skip("no documentation around the tests")
    text = TOUR.read_text("utf-8")
    assert wrong(TOUR, text) == []
    assert len(looked_up(TOUR, text)) > 100
    assert len(text.splitlines()) < 220


def test_control_a_wrong_name_and_a_wrong_path_are_seen() -> None:
    if not TOUR.is_file():
        pytest.skip("no documentation around the tests")
    link = "[errors](../src/crossflare/errors.py)"
    assert wrong(TOUR, f"{link}: `UserError`, `choose`, and `--json` in `src/crossflare/`.") == []
    assert wrong(TOUR, f"{link}: `UserErrors`") == ["errors.py: UserErrors"]
    assert wrong(TOUR, f"1. `nobody` {link}\n2. `nobody`\n\n`nobody`") == [], "a name belongs to a link before it"
    assert wrong(TOUR, "[a](../src/crossflare/nowhere.py): `run` in `src/nowhere/`") == [
        "docs/tour.md: ../src/crossflare/nowhere.py",
        "src/nowhere/",
    ]
