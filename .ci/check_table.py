"""Fail unless a run's results have a finite score, inside its interval, for every method, language and metric.

python .ci/check_table.py RUN_FOLDER
"""

import json
import math
import sys
from itertools import product
from pathlib import Path

import yaml


def problems(results: dict, spec: dict) -> list[str]:
    """Return what is wrong with the table, a line each."""
    found = [f"missing run: {key}" for key in results["missing"]]
    cells = {(cell["method"], cell["language"], cell["metric"]): cell for cell in results["scores"]}
    wanted = list(product(spec["methods"], spec["targets"], results["metrics"]))
    if not wanted:
        found.append("the table is empty")
    for key in dict.fromkeys([*wanted, *cells]):
        cell = cells.get(key)
        if cell is None:
            found.append(f"{key}: no cell")
            continue
        score, low, high = (cell.get(name) for name in ("score", "low", "high"))
        if not isinstance(score, float) or not math.isfinite(score) or not 0 <= score <= 1:
            found.append(f"{key}: score {score} {cell.get('gap') or ''}")
        elif low is not None and high is not None and not low <= score <= high:
            found.append(f"{key}: score {score} outside of its interval {low} to {high}")
        if len(cell["by_seed"]) != len(spec["seeds"]):
            found.append(f"{key}: {len(cell['by_seed'])} seeds, expected {len(spec['seeds'])}")
    return found


def main(folder: Path) -> int:
    """Print the verdict; return 1 when anything is wrong."""
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    spec = yaml.safe_load((folder / "spec.yaml").read_text(encoding="utf-8"))
    found = problems(results, spec)
    for name in ("report.html", "report.md"):
        if not (folder / name).is_file() or (folder / name).stat().st_size < 500:
            found.append(f"{name} is missing or empty")
    print("\n".join(found) or f"{folder.name}: {len(results['scores'])} scores, all finite")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
