"""Small modules, few public names, every module documented, and the tree in the README is the tree on the disk."""

import ast
import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

CEILING, AIM, NAMES = 300, 250, 20
DATA = {"languages/table.py"}  # one literal, a line for each of its rows


def test_modules_stay_small(package, record_property):
    lines = {path.relative_to(package).as_posix(): len(path.read_text().splitlines()) for path in package.rglob("*.py")}
    for name, count in sorted(lines.items(), key=lambda item: -item[1]):
        if count > AIM:
            record_property(name, count)
            print(f"{name}: {count} lines, above the aim of {AIM}")
    assert {name: count for name, count in lines.items() if count > CEILING and name not in DATA} == {}


def test_root_has_few_sorted_names_that_exist():
    import crossflare

    names = list(getattr(crossflare, "__all__", []))
    assert names == sorted(names)
    assert len(names) <= NAMES
    assert len(set(names)) == len(names)
    for name in names:
        assert getattr(crossflare, name) is not None


def test_unknown_root_name_is_an_attribute_error():
    import crossflare

    with pytest.raises(AttributeError, match="no_such_name"):
        crossflare.no_such_name  # noqa: B018


def test_every_module_says_what_it_is(trees):
    assert [name for name, tree in trees.items() if not ast.get_docstring(tree)] == []


MOST_FILES = 25


def test_no_folder_is_crowded(trees):
    """A stranger looks over a folder's files at one glance."""
    folders = Counter(name.rpartition(".")[0] for name in trees)
    assert {name: count for name, count in folders.items() if count > MOST_FILES} == {}


def test_package_is_typed(package):
    assert (package / "py.typed").is_file()


def tree_of(text: str) -> list[str]:
    """Return the paths of the first fenced tree of a README that has the line `src/crossflare/`."""
    for block in re.findall(r"^```[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        lines = [re.sub(r"[│├└─]", " ", line) for line in block.splitlines() if line.strip()]
        if not any(line.strip().split()[0].rstrip("/") == "src/crossflare" for line in lines):
            continue
        paths, stack = [], []
        for line in lines:
            indent, name = len(line) - len(line.lstrip()), line.split()[0]
            stack = [(depth, part) for depth, part in stack if depth < indent]
            stack.append((indent, name.rstrip("/")))
            paths.append("/".join(part for _, part in stack) + ("/" if name.endswith("/") else ""))
        return paths
    return []


def missing(paths: list[str], root: Path) -> list[str]:
    return [path for path in paths if not ((root / path).is_dir() if path.endswith("/") else (root / path).exists())]


def unnamed(paths: list[str], root: Path) -> list[str]:
    """Return the packages and root modules that git knows and the tree leaves out."""
    listed = subprocess.run(["git", "ls-files", "src"], cwd=root, capture_output=True, text=True).stdout.split()
    parts = {
        "/".join(name.split("/")[:3])
        for name in listed
        if name.startswith("src/crossflare/") and name.endswith(".py") and "__" not in name.split("/")[2]
    }
    return sorted(parts - {path.rstrip("/") for path in paths})


def test_readme_tree_is_the_disk(repository):
    paths = tree_of((repository / "README.md").read_text())
    if not paths:
        pytest.skip("the README has no tree yet")
    assert missing(paths, repository) == []
    assert unnamed(paths, repository) == []


def test_control_a_wrong_tree_is_seen(repository):
    text = "# x\n```\nsrc/crossflare/   the package\n  api.py    files\n  nowhere/    gone\ntests/   tests\n```\n"
    paths = tree_of(text)
    assert paths == ["src/crossflare/", "src/crossflare/api.py", "src/crossflare/nowhere/", "tests/"]
    assert missing(paths, repository) == ["src/crossflare/nowhere/"]
    assert "src/crossflare/errors.py" in unnamed(paths, repository)
    drawn = "```text\nsrc/crossflare/\n├── api.py   x\n└── tasks/\n    └── named_sets.py\n```\n"
    assert tree_of(drawn) == [
        "src/crossflare/", "src/crossflare/api.py", "src/crossflare/tasks/", "src/crossflare/tasks/named_sets.py",
    ]  # fmt: skip
