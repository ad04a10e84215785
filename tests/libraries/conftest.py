"""What every contract test needs: the names of a library that `crossflare.libraries` guards, found in its source."""

import ast
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from crossflare.libraries import guard


def places(library: str) -> list[str]:
    """Return what is handed to `guard.name`; of a name that is put together, what stands before the first gap."""
    found = []
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in Path(guard.__file__).parent.glob("*.py")]
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "guard.name":
            (given,) = node.args
            if isinstance(given, ast.Constant):
                found.append(given.value)
            elif isinstance(given, ast.JoinedStr) and isinstance(given.values[0], ast.Constant):
                found.append(re.split(r"[.:][^.:]*$", given.values[0].value)[0])
    return [place for place in found if re.match(rf"{library}\b", place)]


def one_line(library: str, what: str) -> str:
    """Return the pattern of the line that says what is missing."""
    return (
        rf"^{library} [^ ]+ has no {what}, which crossflare needs; tested with {library} [^ ]*: install a tested "
        r"version, or run `crossflare doctor --self-test` to see whether this one is right$"
    )


@pytest.fixture(autouse=True)
def _forget() -> None:
    guard.name.cache_clear()


@pytest.fixture(scope="session")
def contract() -> SimpleNamespace:
    return SimpleNamespace(places=places, one_line=one_line)
