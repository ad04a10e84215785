"""The locks are in step with pyproject.toml, hold hashes and nothing of an index, and are read as they are written."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tools import locks
from tools.locks import Pin

PROJECT = tomllib.loads((locks.ROOT / "pyproject.toml").read_text())["project"]


def requirements(*extras: str) -> list[Requirement]:
    """Return what crossflare asks for with some extras, those that an extra names included."""
    lines, seen = list(PROJECT["dependencies"]), set()
    waiting = list(extras)
    while waiting:
        extra = waiting.pop()
        for line in () if extra in seen else PROJECT["optional-dependencies"][extra]:
            wanted = Requirement(line)
            if wanted.name == PROJECT["name"]:
                waiting += wanted.extras
            else:
                lines.append(line)
        seen.add(extra)
    return [Requirement(line) for line in lines]


def versions(path) -> dict[str, str]:
    return {pin.name: pin.version for pin in [*locks.read(path).values(), *locks.read(locks.CUDA).values()]}


@pytest.mark.parametrize(
    ("path", "extra"),
    [(locks.DEMO, "demo"), (locks.CPU, "dev"), (locks.LOWEST, "dev")],
    ids=lambda each: str(each)[-12:],
)
def test_every_requirement_has_an_admitted_version(path, extra):
    found = versions(path)
    wrong = [
        f"{wanted} but {found.get(wanted.name)}"
        for wanted in requirements(extra)
        if wanted.name not in found or not wanted.specifier.contains(found[wanted.name], prereleases=True)
    ]
    assert wrong == [], "make locks"


def test_lowest_has_the_lower_bounds():
    found = versions(locks.LOWEST)
    for wanted in requirements("dev"):
        bounds = [each.version for each in wanted.specifier if each.operator in (">=", "==")]
        if wanted.name != "torch" and bounds:
            # The first release that the bound admits: 8 may have been published as 8.0.0, and 6.100 as 6.100.0.
            assert Version(found[wanted.name]).release[: len(Version(bounds[0]).release)] == Version(bounds[0]).release


def test_torch_stands_in_one_file_and_agrees_with_the_lock_for_cuda():
    assert "torch" not in locks.read(locks.CPU) | locks.read(locks.LOWEST)
    assert locks.TORCH.read_text().strip() == f"torch=={locks.read(locks.CUDA)['torch'].version}"


@pytest.mark.parametrize("path", [locks.DEMO, locks.CPU, locks.CUDA, locks.LOWEST], ids=lambda path: path.name)
def test_a_lock_holds_pins_and_hashes_alone(path):
    text = path.read_text()
    rest = locks.ENTRY.sub("", text)
    assert [line for line in rest.splitlines() if line and not re.match(r"# |-r linux-", line)] == []
    pins = locks.parse(text)
    assert len(pins) == len(locks.ENTRY.findall(text)) > 10
    reads = locks.DEMO if path == locks.CPU else None
    assert locks.text_of(text.partition(" Made by")[0].removeprefix("# "), pins, reads) == text


def test_nothing_is_locked_twice():
    assert not locks.parse(locks.CPU.read_text()).keys() & locks.read(locks.DEMO).keys()
    assert locks.read(locks.CPU).items() >= locks.read(locks.DEMO).items()
    assert not locks.read(locks.CPU).keys() & locks.read(locks.CUDA).keys()


def test_a_lock_reads_the_other(tmp_path):
    a, b = Pin("a", "1", ("sha256:" + "0" * 64,)), Pin("b-c", "2.0+x", ("sha256:" + "1" * 64, "sha256:" + "2" * 64))
    (tmp_path / "first.txt").write_text(locks.text_of("First.", {"a": a}))
    (tmp_path / "second.txt").write_text(locks.text_of("Second.", {"b-c": b}, tmp_path / "first.txt"))
    assert locks.read(tmp_path / "second.txt") == {"a": a, "b-c": b}
    assert locks.read(tmp_path / "none.txt") == {}


def test_what_changed():
    old = {name: Pin(name, "1", ()) for name in "abc"}
    new = {"a": old["a"], "b": Pin("b", "2", ()), "d": Pin("d", "1", ())}
    assert locks.differences(old, new) == ["  b 1 -> 2", "- c 1", "+ d 1"]
