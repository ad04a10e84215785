"""`make faults BUDGET=10`: kills, fuzzing, damaged folders and faults of system calls, for so many minutes.

    python tests/faults/drive.py --minutes 10 [PART ...]
    python tests/faults/drive.py --page              only write docs/reliability.md anew

Each part goes on where it ended the last time: its next seed and its counts are in docs/results/reliability.json. A
seed that finds a fault is kept there, too, and tried again by tests/faults/test_seeds.py.
"""

import argparse
import gc
import json
import os
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
STATE = ROOT / "docs" / "results" / "reliability.json"


def load() -> dict[str, Any]:
    return json.loads(STATE.read_text(encoding="utf-8")) if STATE.is_file() else {"parts": {}, "found": []}


def save(state: dict[str, Any]) -> None:
    from crossflare.disk.files import write_json

    write_json(STATE, state)


def work(name: str, seconds: float) -> None:
    """Make attempts of one part for so long, at least one; their counts are added to the state on the disk."""
    import pytest

    from faults.campaign import PARTS

    part, found = load()["parts"].get(name, {"seed": 0, "counts": {}, "minutes": 0.0}), list[dict[str, Any]]()
    counts, first, begun = Counter[str](part["counts"]), part["seed"], time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        try:
            attempt = PARTS[name][0](Path(folder))
        except pytest.skip.Exception as reason:
            print(f"{name}: skipped: {reason}")
            return
        begun = time.monotonic()
        while True:
            seed = part["seed"]
            try:
                counts.update(attempt(seed))
            except Exception:
                said = traceback.format_exc()
                print(f"{name}: seed {seed} found a fault:\n{said}", flush=True)
                found.append({"part": name, "seed": seed, "said": said.strip().splitlines()[-1][:300]})
            part["seed"] += 1
            if time.monotonic() - begun > seconds:
                break
    part["minutes"] = round(part["minutes"] + (time.monotonic() - begun) / 60, 2)
    part["counts"] = dict(counts)
    state = load()  # the mutation check may have written to it meanwhile
    state["parts"][name] = part
    state["found"] += found
    save(state)
    print(f"{name}: seeds {first} to {part['seed'] - 1}: now {dict(counts)} in all", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--page", action="store_true")
    parser.add_argument("parts", nargs="*")
    given = parser.parse_args()
    os.environ |= {"HF_HUB_OFFLINE": "1", "CROSSFLARE_DEVICE": "cpu", "OMP_NUM_THREADS": "1"}
    sys.path.insert(0, str(HERE.parent))
    sys.path.insert(1, str(ROOT))
    from faults.page import write_page

    before = len(load()["found"])
    if not given.page:
        import warnings

        import torch

        from faults.campaign import PARTS

        warnings.simplefilter("ignore")
        torch.set_num_threads(1)
        gc.collect()
        gc.freeze()
        chosen = given.parts or list(PARTS)
        total = sum(PARTS[name][2] for name in chosen)
        for name in chosen:
            work(name, 60 * given.minutes * PARTS[name][2] / total)
    state = load()
    write_page(ROOT / "docs" / "reliability.md", state)
    return len(state["found"]) > before


if __name__ == "__main__":
    raise SystemExit(main())
