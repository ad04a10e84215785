"""The page of the evidence: `python docs/results/evidence.py` makes its table and picture from the published numbers.

It reads `evidence-nusax/results.json`, which publish.py copies, and writes `evidence/javanese.svg` and the table
between the markers of `evidence.md`; the words around the table are kept.
"""

import json
import re
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt

from crossflare.files import write_atomic

matplotlib.use("svg")
matplotlib.rcParams.update({"svg.hashsalt": "crossflare", "svg.fonttype": "none", "font.family": "sans-serif"})
HERE = Path(__file__).parent
RUN, PAGE, PLACE = HERE / "evidence-nusax", HERE / "evidence.md", HERE / "evidence"
GROUPS = {
    "what there was before": ("zero-shot", "translate-test", "lora"),
    "FLARE": ("flare", "flare-attention"),
    "rivals": ("input-fusion", "xmixup"),
    "combinations, at FLARE's cost at test time": ("ensemble", "stack", "flare+source", "stack-flare"),
    "controls: the trained FLARE adapter with another source": ("flare-no-source", "flare-shuffled"),
    "controls: trained in another way": ("relu-lora", "flare-on-target", "lora-equal-cost", "flare-released"),
}
INK, ACCENT, SOFT = "#1f2430", "#b4441c", "#8a8f9c"


def points(value: float) -> str:
    """Return a score in points."""
    return f"{100 * value:.1f}"


def signed(value: float) -> str:
    """Return a difference in points, with its sign."""
    return f"{100 * value:+.1f}".replace("-", "−")


def read(run: Path = RUN, metric: str = "macro_f1", language: str = "jv") -> tuple[dict[str, Any], dict[str, Any]]:
    """Return method -> score, and method -> FLARE less it."""
    found = json.loads((run / "results.json").read_text(encoding="utf-8"))
    scores = {e["method"]: e for e in found["scores"] if (e["metric"], e["language"]) == (metric, language)}
    less = {e["less"]: e for e in found["differences"] if (e["metric"], e["language"]) == (metric, language)}
    return {name: each for name, each in scores.items() if each["score"] is not None}, less


def table(scores: dict[str, Any], less: dict[str, Any]) -> str:
    """Return one table, a group of methods after the other."""
    lines = ["| method | macro-F1 | seeds | FLARE less it |", "|---|---|---|---|"]
    for group, methods in GROUPS.items():
        present = [method for method in methods if method in scores]
        lines += [f"| *{group}* | | | |"] if present else []
        for method in present:
            each, gap = scores[method], less.get(method) or {}
            apart = (
                f"{signed(gap['score'])} [{signed(gap['low'])}, {signed(gap['high'])}]"
                if gap.get("score") is not None
                else ""
            )
            strong = "**" if apart and (gap["low"] > 0 or gap["high"] < 0) else ""
            interval = f"{points(each['score'])} ({points(each['low'])}–{points(each['high'])})"
            lines.append(f"| {method} | {interval} | {len(each['by_seed'])} | {strong}{apart}{strong} |")
    return "\n".join(lines)


def picture(scores: dict[str, Any], less: dict[str, Any], path: Path) -> None:
    """Draw every method's score with its interval and its seeds, and beside it FLARE less the method."""
    names = [method for methods in GROUPS.values() for method in methods if method in scores]
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(9, 0.34 * len(names) + 1), sharey=True, gridspec_kw={"wspace": 0.06}
    )
    for place, name in enumerate(reversed(names)):
        each, colour = scores[name], ACCENT if name == "flare" else INK
        left.plot([100 * each["low"], 100 * each["high"]], [place, place], color=colour, lw=2, solid_capstyle="butt")
        left.plot(100 * each["score"], place, "o", color=colour, ms=6)
        left.plot([100 * v for v in each["by_seed"].values()], [place + 0.24] * len(each["by_seed"]), "|", color=SOFT)
        gap = less.get(name)
        if gap and gap.get("score") is not None:
            clear = gap["low"] > 0 or gap["high"] < 0
            right.plot([100 * gap["low"], 100 * gap["high"]], [place, place], color=INK if clear else SOFT, lw=2)
            right.plot(100 * gap["score"], place, "o", color=INK if clear else SOFT, ms=6)
    left.set_yticks(range(len(names)), list(reversed(names)))
    right.axvline(0, color=SOFT, lw=1)
    left.set_xlabel("macro-F1, points (ticks: seeds)")
    right.set_xlabel("FLARE less the method, points")
    for axis in (left, right):
        axis.grid(axis="x", color="#dddddd", lw=0.6)
        axis.tick_params(length=0)
        for side in ("top", "right", "left"):
            axis.spines[side].set_visible(False)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None}, facecolor="white")
    plt.close(figure)


def main() -> None:
    """Write the picture, and the table between the page's markers."""
    scores, less = read()
    picture(scores, less, PLACE / "javanese.svg")
    page = PAGE.read_text(encoding="utf-8")
    made = f"<!-- table -->\n{table(scores, less)}\n<!-- end -->"
    write_atomic(PAGE, re.sub(r"<!-- table -->.*?<!-- end -->", lambda _: made, page, flags=re.DOTALL))


if __name__ == "__main__":
    main()
