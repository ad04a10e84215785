"""The files in locks/: what each is for, and how one is read and written."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "locks"

TORCH = FOLDER / "torch.txt"
"""The one version of torch; no hash, since each index has its own build of it."""
DEMO = FOLDER / "linux-cpu-demo.txt"
"""What the demonstration needs beside torch."""
CPU = FOLDER / "linux-cpu.txt"
"""Everything for development beside torch; reads DEMO."""
CUDA = FOLDER / "linux-cuda.txt"
"""torch from the ordinary index with the CUDA libraries that it asks for."""
LOWEST = FOLDER / "lowest.txt"
"""The lower bounds of pyproject.toml, and the newest of the rest that goes with them."""

ENTRY = re.compile(
    r"^(?P<name>[a-z0-9][a-z0-9-]*)==(?P<version>[^\s;]+)(?P<hashes>(?: \\\n    --hash=sha256:[0-9a-f]{64})+)$", re.M
)
OTHER_FILE = re.compile(r"^-r (\S+)$", re.M)


@dataclass(frozen=True)
class Pin:
    """One package of a lock: its version, and the hashes of all files of that version."""

    name: str
    version: str
    hashes: tuple[str, ...]

    def __str__(self) -> str:
        return " \\\n    ".join([f"{self.name}=={self.version}", *(f"--hash={each}" for each in self.hashes)])


def parse(text: str) -> dict[str, Pin]:
    """Return the pins of a lock's text by name, without those of a file that it reads."""
    found = (
        Pin(entry["name"], entry["version"], tuple(re.findall(r"sha256:\w+", entry["hashes"])))
        for entry in ENTRY.finditer(text)
    )
    return {pin.name: pin for pin in found}


def read(path: Path) -> dict[str, Pin]:
    """Return the pins of a lock by name, with those of the files that it reads; empty where there is none yet."""
    if not path.exists():
        return {}
    text = path.read_text()
    pins: dict[str, Pin] = {}
    for other in OTHER_FILE.findall(text):
        pins |= read(path.parent / other)
    return pins | parse(text)


def text_of(purpose: str, pins: dict[str, Pin], reads: Path | None = None) -> str:
    """Return a lock as text: a line about its purpose, the file that it reads, its pins in the order of names."""
    head = [f"# {purpose} Made by `make upgrade`."] + ([f"-r {reads.name}"] if reads else [])
    return "\n".join([*head, *(str(pins[name]) for name in sorted(pins))]) + "\n"


def differences(old: dict[str, Pin], new: dict[str, Pin]) -> list[str]:
    """Return a line for each package that came, went or has another version."""
    lines: list[str] = []
    for name in sorted(old.keys() | new.keys()):
        before, after = (pins[name].version if name in pins else None for pins in (old, new))
        if before is None:
            lines.append(f"+ {name} {after}")
        elif after is None:
            lines.append(f"- {name} {before}")
        elif before != after:
            lines.append(f"  {name} {before} -> {after}")
    return lines
