"""New locks: one resolution is divided into the parts, and what one lock cannot serve is refused."""

import pytest

from tools import locks, upgrade
from tools.locks import Pin

HASHES = ("sha256:" + "0" * 64,)
NEWEST = {
    "torch": "2",
    "nvidia-nccl": "3",
    "cuda-bindings": "4",
    "triton": "5",
    "peft": "6",
    "jinja2": "7",
    "ruff": "8",
}
IN_DEMO = ("torch", "nvidia-nccl", "cuda-bindings", "triton", "peft", "jinja2")


@pytest.fixture
def resolver(monkeypatch):
    """A resolver with a table of what it finds: extra, or extra with the first option -> versions."""
    found = {
        "dev": NEWEST,
        "demo": {name: NEWEST[name] for name in IN_DEMO},
        "dev --resolution": {**NEWEST, "peft": "1"},
    }
    asked = []

    def resolve(uv, extra, *options, keep, python=upgrade.LOWEST_PYTHON):
        asked.append((extra, options, keep, python))
        key = f"{extra} {python}" if f"{extra} {python}" in found else extra
        if "--resolution" in options:
            key = f"{extra} --resolution"
        return {name: Pin(name, version, HASHES) for name, version in found[key].items()}

    monkeypatch.setattr(upgrade, "resolve", resolve)
    return found, asked


def test_one_resolution_is_divided(resolver):
    new = upgrade.new_locks("uv", keep=False)
    assert {path.name: sorted(pins) for path, pins in new.items()} == {
        "linux-cpu-demo.txt": ["jinja2", "peft"],
        "linux-cpu.txt": ["ruff"],
        "linux-cuda.txt": ["cuda-bindings", "nvidia-nccl", "torch", "triton"],
        "lowest.txt": ["jinja2", "peft", "ruff"],
    }
    assert new[locks.LOWEST]["peft"].version == "1"


def test_only_an_upgrade_leaves_the_locked_versions(resolver):
    upgrade.new_locks("uv", keep=True)
    assert not any("--upgrade" in options for _, options, _, _ in resolver[1])
    assert all(keep for _, _, keep, _ in resolver[1])
    resolver[1].clear()
    upgrade.new_locks("uv", keep=False)
    assert [extra for extra, options, _, _ in resolver[1] if "--upgrade" in options] == ["dev", "dev"]


def test_a_kept_version_never_hides_a_lower_bound(resolver, monkeypatch):
    assert {"peft", "ruff", "pyright", "crossflare"} <= upgrade.asked_for()
    kept = {name: Pin(name, "9", HASHES) for name in ("peft", "ruff", "pyright", "frozenlist")}
    monkeypatch.setattr(upgrade.locks, "read", lambda path: kept)
    upgrade.new_locks("uv", keep=True)
    assert next(keep for _, options, keep, _ in resolver[1] if "--resolution" in options) == {
        "frozenlist": kept["frozenlist"]
    }


@pytest.mark.parametrize("change", [{"tomli": "1"}, {"peft": "7"}], ids=["another package", "another version"])
def test_a_python_with_other_needs_is_refused(resolver, change):
    resolver[0]["dev 3.13"] = NEWEST | change
    with pytest.raises(SystemExit, match=r"{}=={} on Python 3\.13$".format(*next(iter(change.items())))):
        upgrade.new_locks("uv", keep=False)
