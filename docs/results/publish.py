"""Copy the numbers of finished runs into this folder: reports and records, no rows of data and no predictions.

CROSSFLARE_DATA=FOLDER python docs/results/publish.py runs/nusax-minilm runs/xnli-sw-minilm
"""

import os
import shutil
import sys
from pathlib import Path

PLACE = Path(__file__).parent
KEPT = ("report.md", "results.json", "results.csv", "spec.yaml")


def publish(run: Path) -> None:
    """Copy one run; where the data lay on this machine is written as the recipe has it."""
    data = str(Path(os.environ["CROSSFLARE_DATA"]).resolve())
    target = PLACE / run.name
    shutil.rmtree(target, ignore_errors=True)
    for path in [*(run / name for name in KEPT), *sorted((run / "records").glob("*.json"))]:
        copy = target / path.relative_to(run)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text(encoding="utf-8").replace(data, "$CROSSFLARE_DATA"), encoding="utf-8")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        publish(Path(name).resolve())
