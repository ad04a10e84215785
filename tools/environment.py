"""An environment from a lock: torch first and alone, then the lock with its hashes, then crossflare itself.

    python -m tools.environment FOLDER LOCK [--no-package]

The variable TORCH_INDEX names another package index for torch alone, such as PyTorch's own with the builds for CPUs. An
install that was cut off leaves `.unfinished` in the folder, which is then made anew: pip cannot always tell half a
package from a whole one. A folder that is a link is somebody else's environment and never made anew.
"""

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

from tools import locks

SIZES = {
    locks.DEMO: "280 MB to download, 1.1 GB on the disk",
    locks.CPU: "680 MB to download, 2.1 GB on the disk",
    locks.LOWEST: "680 MB to download, 2.1 GB on the disk",
}
"""Measured by hand; they change slowly."""
TORCH_SIZES = (
    "190 MB to download and 760 MB on the disk in the build for CPUs; 2.7 GB and more than twice that on the disk in "
    "the build with CUDA, which the ordinary index gives on Linux (TORCH_INDEX=URL takes another index)"
)
SHOWN = (
    "torch", "transformers", "tokenizers", "huggingface-hub", "peft", "accelerate", "datasets", "ctranslate2",
    "bitsandbytes", "numpy", "scipy", "scikit-learn", "ray", "pytest",
)  # fmt: skip


def say(text: str) -> None:
    """Print a line of progress at once."""
    print(f"==> {text}", flush=True)


def fresh(folder: Path) -> None:
    """Make an empty environment, in place of one that was there."""
    try:
        venv.create(folder, clear=True, with_pip=True, symlinks=os.name != "nt")
    except (subprocess.CalledProcessError, OSError) as error:
        raise SystemExit(
            f"{sys.executable} cannot make the environment {folder} (on Debian and Ubuntu: apt-get install "
            f"python3-venv): {error}"
        ) from None


def python(folder: Path) -> str:
    """Return the interpreter of an environment."""
    return str(folder / "bin" / "python")


def pip(folder: Path, *arguments: str) -> None:
    """Run `pip install`; say what pip said only when it fails, since it warns of much that does no harm."""
    command = [python(folder), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
    result = subprocess.run(command, cwd=locks.ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if result.returncode:
        raise SystemExit(f"{result.stdout}{result.stderr}pip install {' '.join(arguments)}: failed in {folder}")


def works(folder: Path) -> bool:
    """Tell whether a folder is an environment with pip."""
    try:
        return subprocess.run([python(folder), "-m", "pip", "--version"], capture_output=True).returncode == 0
    except OSError:
        return False


def versions(folder: Path) -> dict[str, str]:
    """Return the version of every package in an environment."""
    command = [python(folder), "-m", "pip", "list", "--format=json", "--disable-pip-version-check"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True)
    return {each["name"].lower().replace("_", "-"): each["version"] for each in json.loads(listed.stdout)}


def shown(folder: Path) -> str:
    """Return one line with the versions that matter."""
    found = versions(folder)
    return ", ".join(f"{name} {found[name]}" for name in SHOWN if name in found)


def make(folder: Path, lock: Path, package: bool = True) -> None:
    """Bring an environment to the versions of a lock; crossflare comes from this folder, editable, if asked."""
    unfinished = folder / ".unfinished"
    if not folder.is_symlink() and (unfinished.exists() or not works(folder)):
        say(f"making {folder}")
        fresh(folder)
    unfinished.touch()
    torch = locks.TORCH.read_text().strip()
    if versions(folder).get("torch", "").partition("+")[0] != torch.partition("==")[2]:
        say(f"installing {torch}: {TORCH_SIZES}")
        index = os.environ.get("TORCH_INDEX")
        pip(folder, *(("-i", index) if index else ()), torch)
    say(f"installing {len(locks.read(lock))} packages of {lock.relative_to(locks.ROOT)}: {SIZES[lock]}")
    pip(folder, "--no-deps", "--require-hashes", "-r", str(lock))
    if package:
        pip(folder, "--no-deps", "--no-build-isolation", "--editable", str(locks.ROOT))
    unfinished.unlink()
    say(shown(folder))


if __name__ == "__main__":
    options = {"--no-package"} & set(sys.argv)
    place, lock_file = (Path(each).absolute() for each in sys.argv[1:] if each not in options)
    make(place, lock_file, package=not options)
