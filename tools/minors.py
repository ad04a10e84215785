"""`make versions`: the laws of generation with every minor release of transformers that pyproject.toml admits.

One environment from the lock, in which transformers changes, and of the rest only what that release asks for.
"""

import re
import tomllib
from subprocess import DEVNULL, PIPE, run
from time import monotonic

from tools import locks
from tools.environment import make, pip, python, say, versions

LAWS = "tests/laws/test_generation.py"
COLUMNS = "{:14} {:12} {:16} {:>8}  {}"


def minors(requirements: list[str]) -> list[str]:
    """Return the minor releases between the bounds of transformers: `>=5.15,<5.18` gives 5.15, 5.16 and 5.17."""
    for line in requirements:
        if bounds := re.fullmatch(r"transformers>=(\d+)\.(\d+),<(\d+)\.(\d+)", line):
            major, first, last_major, end = map(int, bounds.groups())
            if major == last_major:
                return [f"{major}.{minor}" for minor in range(first, end)]
    raise SystemExit("pyproject.toml: expected transformers>=X.A,<X.B, both with the same X")


def main() -> int:
    """Print a line for each release; return 0 when the laws hold with all."""
    folder = locks.ROOT / "build" / "lanes" / "versions"
    make(folder, locks.CPU)
    wanted = minors(tomllib.loads((locks.ROOT / "pyproject.toml").read_text())["project"]["dependencies"])
    broken: list[str] = []
    print(COLUMNS.format("transformers", "tokenizers", "huggingface-hub", "seconds", "laws of generation"), flush=True)
    for minor in wanted:
        pip(folder, f"transformers=={minor}.*")
        start = monotonic()
        command = [python(folder), "-m", "pytest", "-q", "-m", "not slow", "-n", "2", LAWS]
        result = run(command, cwd=locks.ROOT, stdin=DEVNULL, stdout=PIPE, text=True)
        found = versions(folder)
        outcome = result.stdout.strip().splitlines()[-1].strip("= ") if result.stdout.strip() else "no test ran"
        print(
            COLUMNS.format(
                found["transformers"],
                found["tokenizers"],
                found["huggingface-hub"],
                round(monotonic() - start),
                outcome,
            ),
            flush=True,
        )
        if result.returncode:
            broken.append(found["transformers"])
            print(
                "\n".join(f"    {line}" for line in result.stdout.splitlines() if line.startswith(("FAILED", "ERROR")))
            )
    say(f"the laws fail with transformers {', '.join(broken)}" if broken else f"the laws hold with all {len(wanted)}")
    return bool(broken)


if __name__ == "__main__":
    raise SystemExit(main())
