"""What every contract test needs: the names that a module of `crossflare.libraries` guards, found in its source."""

import ast
import inspect
import re
from importlib import import_module
from types import SimpleNamespace

import pytest

from crossflare.libraries import guard


def places(library: str) -> list[str]:
    """Return what a module hands to `guard.name`; of a name that is put together, what stands before the first gap."""
    tree = ast.parse(inspect.getsource(import_module(f"crossflare.libraries.{library}")))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "guard.name":
            (given,) = node.args
            if isinstance(given, ast.Constant):
                found.append(given.value)
            elif isinstance(given, ast.JoinedStr) and isinstance(given.values[0], ast.Constant):
                found.append(re.split(r"[.:][^.:]*$", given.values[0].value)[0])
    return found


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
