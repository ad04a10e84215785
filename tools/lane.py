"""A lane: the tests that depend on other libraries most, with other versions of them.

    python -m tools.lane lowest    the lower bounds of pyproject.toml
    python -m tools.lane newest    the locked versions, then the newest of LIBRARIES, also past pyproject's bounds

Each lane has an environment of its own under build/lanes. When tests fail, the lane goes from the locked versions to
its own in steps, and names the library whose step makes these tests fail.
"""

import json
import sys
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, call

from tools import locks
from tools.environment import make, pip, python, say, shown, versions

TIED = ("transformers", "tokenizers", "huggingface-hub")
"""transformers refuses other versions of the two at import: they change in one step."""
LIBRARIES = (*TIED, "accelerate", "datasets", "peft", "ctranslate2")
TESTS = ("laws", "fusion", "training", "cli", "outside")
LANES = {"lowest": locks.LOWEST, "newest": locks.CPU}


@dataclass(frozen=True)
class Step:
    """Libraries that change together: name -> (locked version, the lane's version)."""

    changes: dict[str, tuple[str, str]]

    def __str__(self) -> str:
        return ", ".join(f"{name} {here} (locked: {locked})" for name, (locked, here) in self.changes.items())


def steps(locked: dict[str, str], here: dict[str, str]) -> list[Step]:
    """Return the steps from the locked versions to the lane's: LIBRARIES first, then the others by name."""
    changed = {
        name: (locked[name], here[name]) for name in sorted(locked.keys() & here.keys()) if locked[name] != here[name]
    }
    others = [name for name in changed if name not in LIBRARIES]
    groups = [TIED, *((name,) for name in (*LIBRARIES[len(TIED) :], *others))]
    found = ({name: changed[name] for name in group if name in changed} for group in groups)
    return [Step(changes) for changes in found if changes]


def culprit(count: int, fails: Callable[[int], bool]) -> int | None:
    """Return the first number of steps after which tests fail, by halving; None when they do not fail after all.

    Args:
        count: The number of steps. Tests pass after none of them.
        fails: Whether the tests fail after the first k steps.
    """
    first = 1 + bisect_left(range(1, count), True, key=fails)
    return first if first < count or (count > 0 and fails(count)) else None


def run_tests(folder: Path, tests: Sequence[str], *options: str) -> int:
    """Run tests in a lane's environment; return pytest's exit status."""
    command = [
        python(folder), "-m", "pytest", "-q", "-m", "not slow", "-n", "2", "--dist", "worksteal",
        "-o", f"cache_dir={folder / 'pytest'}", *options, *tests,
    ]  # fmt: skip
    return call(command, cwd=locks.ROOT, stdin=DEVNULL)


def failed_tests(folder: Path) -> list[str]:
    """Return the names of the tests that failed last; none where pytest could not even start them."""
    path = folder / "pytest" / "v" / "cache" / "lastfailed"
    return sorted(json.loads(path.read_text())) if path.exists() else []


def blame(
    folder: Path, locked: dict[str, str], here: dict[str, str], failed: Sequence[str], tests: Sequence[str]
) -> str:
    """Return which step from the locked versions to the lane's makes the failed tests fail."""
    way = steps(locked, here)

    def install(count: int) -> None:
        say(f"looking for the library: {count} of {len(way)} steps from the locked versions")
        changes = [(name, pair[k < count]) for k, step in enumerate(way) for name, pair in step.changes.items()]
        # What the lane lacks is there in every step: it does no harm where nothing asks for it.
        changes += [(name, locked[name]) for name in sorted(locked.keys() - here.keys())]
        if changes:
            pip(folder, "--no-deps", *(f"{name}=={version}" for name, version in changes))

    install(0)
    if failed:
        run_tests(folder, failed, "--cache-clear", "--tb=no")
        own = sorted(set(failed) - set(failed_tests(folder)))
        command = own
    else:  # pytest could not start; then it is enough that it can
        command = [*tests, "--collect-only"]
        own = tests if run_tests(folder, command) == 0 else []
    if not own:
        return "the same tests fail with the locked versions: no library of this lane is the cause"

    def fails(count: int) -> bool:
        install(count)
        return run_tests(folder, command, "-x", "--tb=no") != 0

    first = culprit(len(way), fails)
    if first is None:
        return "the tests passed when they were run again: the failure does not depend on a version"
    return f"{len(own)} of {len(failed) or len(own)} failures come with {way[first - 1]}"


def main(name: str) -> int:
    """Run a lane; return 0 when its tests pass."""
    folder = locks.ROOT / "build" / "lanes" / name
    make(folder, LANES[name])
    if name == "newest":
        pip(folder, "--upgrade", "--no-deps", *LIBRARIES)
        say(f"the newest: {shown(folder)}")
    locked = {pin.name: pin.version for pin in locks.read(locks.CPU).values()}
    here = {name: version for name, version in versions(folder).items() if name not in ("torch", "crossflare")}
    for step in steps(locked, here):
        print(f"    {step}")
    tests = [f"tests/{part}" for part in TESTS if (locks.ROOT / "tests" / part).is_dir()]
    if run_tests(folder, tests, "--cache-clear") == 0:
        say(f"lane {name} passed")
        return 0
    say(f"lane {name} failed: {blame(folder, locked, here, failed_tests(folder), tests)}")
    return 1


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in LANES:
        raise SystemExit(f"expected one lane of: {', '.join(LANES)}")
    raise SystemExit(main(sys.argv[1]))
