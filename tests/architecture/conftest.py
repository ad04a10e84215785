"""The package as syntax trees: what is installed, so that the same laws hold for a wheel."""

import ast
import importlib.util
from pathlib import Path

import pytest


def package_folder() -> Path:
    spec = importlib.util.find_spec("crossflare")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


@pytest.fixture(scope="session")
def package() -> Path:
    return package_folder()


@pytest.fixture(scope="session")
def trees() -> dict[str, ast.Module]:
    """Dotted module name, "crossflare.tasks.named_sets" or "crossflare.tasks" for its __init__, -> syntax tree."""
    folder = package_folder()
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = ("crossflare", *path.relative_to(folder).with_suffix("").parts)
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    assert len(found) > 3
    return found


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout around this file; tests that need it are skipped where only the wheel is."""
    root = Path(__file__).parents[2]
    if not (root / "src" / "crossflare").is_dir():
        pytest.skip("no checkout around the tests")
    return root
