"""The page of the data that people have: `python docs/results/native.py` makes its tables from published numbers.

It reads `results.json` and `report.md` of each run that a marker of `native.md` names, as publish.py copied them,
and writes the tables between the markers; the words around them are kept.
"""

import json
import re
from pathlib import Path
from typing import Any

from evidence import points, signed
from evidence_figures import clear

from crossflare.disk.files import write_atomic

HERE = Path(__file__).parent
PAGE = HERE / "native.md"
LEAST, AFTER = "### least difference to be found", "The true difference"


def table(folder: Path) -> str:
    """Return a run's scores in its main metric, each less LoRA, and the least difference to be found."""
    found = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    metric = found["metrics"][0]
    heads = ["language", "method", metric.replace("_", " "), f"less {found['reference']}", "rows", "seeds"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    own = [each for each in found["scores"] if each["metric"] == metric and each["language"] != "macro"]
    for each in sorted(own, key=lambda score: score["language"]):
        cells = [
            each["language"],
            each["method"],
            f"{points(each['score'])} ({points(each['low'])}–{points(each['high'])})",
            _less(each["less_reference"]),
            _rows(each["signature"]),
            str(len(each["by_seed"])),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    right = "exact match" if "exact_match" in found["metrics"] else "accuracy"
    least = _least((folder / "report.md").read_text(encoding="utf-8"), right)
    return "\n".join([*lines, *([] if not least else ["", least]), "", *_signatures(own, found["reference"])])


def _less(gap: Any) -> str:
    if gap is None:
        return ""
    strong = "**" if clear(gap) else ""
    return f"{strong}{signed(gap['score'])} [{signed(gap['low'])}, {signed(gap['high'])}]{strong}"


def _rows(signature: str) -> str:
    return signature.partition("|n:")[2].partition("|")[0]


def _least(report: str, measured: str) -> str:
    """Return what the report says of the difference that its test rows can show, in one sentence."""
    lines = r"^\| ([^|]+?) \| (?:[\d,]+|) ?\| [^|]* \| ([\d.]+) \|$"
    rows = re.findall(lines, report.partition(LEAST)[2].partition(AFTER)[0], re.MULTILINE)
    shown = ", ".join(f"{language} {found} points" for language, found in rows)
    return f"Least difference of {measured} between FLARE and LoRA that these rows can show: {shown}." if rows else ""


def _signatures(scores: list[Any], reference: str) -> list[str]:
    return [f"    {each['signature']}" for each in scores if each["method"] in ("flare", reference)]


def main() -> None:
    """Write the tables between the page's markers, each of the run that its marker names."""
    page = PAGE.read_text(encoding="utf-8")
    for name in re.findall(r"<!-- table (\S+) -->", page):
        new = f"<!-- table {name} -->\n{table(HERE / name)}\n<!-- end -->"
        page = re.sub(rf"<!-- table {name} -->.*?<!-- end -->", lambda _, new=new: new, page, flags=re.DOTALL)
    write_atomic(PAGE, page)


if __name__ == "__main__":
    main()
