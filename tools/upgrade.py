"""`make upgrade`: new locks from the metadata that the package index serves; nothing of it is installed.

    python -m tools.upgrade           newest versions within the ranges of pyproject.toml
    python -m tools.upgrade --keep    keep the locked versions; only what pyproject.toml has changed

The resolver is uv. It reads pyproject.toml, locks/torch.txt and the index, for Linux on x86-64 and the lowest Python
that crossflare supports; each other Python is then checked to need no package that the lock lacks.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from tools import locks
from tools.environment import fresh
from tools.locks import Pin

LOWEST_PYTHON, OTHER_PYTHONS = "3.11", ("3.12", "3.13", "3.14")
PLATFORM = "x86_64-manylinux_2_28"
WITH_CUDA = re.compile(r"torch|triton|(nvidia|cuda)-.*")
"""torch and what only its build with CUDA needs."""
PURPOSES = {
    locks.DEMO: "What `make demo` installs beside torch.",
    locks.CPU: "What development installs beside torch.",
    locks.CUDA: "torch with its CUDA libraries, in place of torch.txt. Made from metadata; no test installs it.",
    locks.LOWEST: "The lower bounds of pyproject.toml: the lane `lowest`.",
}


def resolver() -> str:
    """Return the path of uv, which is installed apart where the machine has none."""
    found = shutil.which("uv")
    if found is None:
        folder = locks.ROOT / "build" / "uv"
        found = str(folder / "bin" / "uv")
        if not Path(found).exists():
            fresh(folder)
            subprocess.run([folder / "bin" / "python", "-m", "pip", "install", "-qq", "uv"], check=True)
    return found


def resolve(uv: str, extra: str, *options: str, keep: dict[str, Pin], python: str = LOWEST_PYTHON) -> dict[str, Pin]:
    """Return what crossflare with an extra needs on one Python, torch and its libraries included.

    Args:
        uv: The resolver's path.
        extra: The extra of pyproject.toml.
        options: More options of `uv pip compile`.
        keep: Versions to prefer; with `--upgrade` among the options, none is.
        python: The version of Python.
    """
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "lock.txt"
        output.write_text("\n".join(map(str, keep.values())))
        command = [
            uv, "pip", "compile", "pyproject.toml", "--extra", extra, "--constraints", str(locks.TORCH),
            "--python-version", python, "--python-platform", PLATFORM, "--generate-hashes", "--no-annotate",
            "--no-header", "--quiet", "--output-file", str(output), *options,
        ]  # fmt: skip
        if subprocess.run(command, cwd=locks.ROOT, stdout=subprocess.DEVNULL).returncode:
            raise SystemExit(f"no versions fit together for Python {python}: see uv's lines above")
        return locks.parse(output.read_text())


def missing(uv: str, lock: dict[str, Pin]) -> list[str]:
    """Return `name==version` of what another Python needs and the lock lacks."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(map(str, lock.values())))
        file.flush()
        return [
            f"{pin.name}=={pin.version} on Python {python}"
            for python in OTHER_PYTHONS
            for pin in resolve(uv, "dev", "--constraints", file.name, keep=lock, python=python).values()
            if lock.get(pin.name) != pin
        ]


def asked_for() -> set[str]:
    """Return the names of what pyproject.toml asks for: a kept version of one would hide its lower bound."""
    project = tomllib.loads((locks.ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    return {re.split(r"[^A-Za-z0-9-]", line, maxsplit=1)[0] for line in lines}


def new_locks(uv: str, keep: bool) -> dict[Path, dict[str, Pin]]:
    """Return the pins of each lock by its path; linux-cpu.txt without those of the file that it reads."""
    options = [] if keep else ["--upgrade"]
    old = {path: locks.read(path) for path in PURPOSES}
    everything = resolve(uv, "dev", *options, keep=old[locks.CPU] | old[locks.CUDA])
    if lacking := missing(uv, everything):
        raise SystemExit("one lock cannot serve all Pythons: " + ", ".join(lacking))
    demo = resolve(uv, "demo", keep=everything)
    asked = asked_for()
    below = {name: pin for name, pin in old[locks.LOWEST].items() if name not in asked}
    lowest = resolve(uv, "dev", "--resolution", "lowest-direct", *options, keep=below)
    cuda = {name for name in everything | lowest if WITH_CUDA.fullmatch(name)}
    return {
        locks.DEMO: {name: everything[name] for name in demo.keys() - cuda},
        locks.CPU: {name: everything[name] for name in everything.keys() - demo.keys() - cuda},
        locks.CUDA: {name: everything[name] for name in everything.keys() & cuda},
        locks.LOWEST: {name: lowest[name] for name in lowest.keys() - cuda},
    }


def main() -> None:
    """Write the locks and print what changed."""
    for path, pins in new_locks(resolver(), "--keep" in sys.argv[1:]).items():
        reads = locks.DEMO if path == locks.CPU else None
        changed = locks.differences(locks.parse(path.read_text()) if path.exists() else {}, pins)
        print(f"{path.relative_to(locks.ROOT)}: {len(pins)} packages, {len(changed)} changed")
        print("".join(f"  {line}\n" for line in changed), end="")
        aside = path.with_suffix(".new")
        aside.write_text(locks.text_of(PURPOSES[path], pins, reads))
        os.replace(aside, path)


if __name__ == "__main__":
    main()
