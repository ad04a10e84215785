"""The laboratory's page: `python docs/results/lab.py RUNS` reads the runs of recipes/lab.sh, writes numbers and plots.

    docs/results/lab/scores.json   every score with its interval, seeds and signature
    docs/results/lab/*.svg         how the gain moves with one knob at a time
    docs/results/lab.md            the tables between the markers; the words around them are kept

Without RUNS the page is made from scores.json alone.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

from crossflare.disk.files import write_atomic, write_json
from crossflare.evaluation.folder import RunFiles
from crossflare.report.results import collect

HERE = Path(__file__).parent
SCORES, PAGE = HERE / "lab" / "scores.json", HERE / "lab.md"
FAMILIES = {"encoder": "encoder (XLM-R)", "decoder": "decoder (Llama)", "encoder-decoder": "encoder-decoder (mT5)"}
TASKS = {"topic": "Topics (5 labels, accuracy)", "nli": "Claims (3 labels, accuracy)", "qa": "Questions (F1)"}
METHODS = (
    "zero-shot",
    "translate-test",
    "lora",
    "flare",
    "flare-mt",
    "flare-no-source",
    "zero-source",
    "shuffled-source",
)
USUAL = "lab-knobs"
"""The run that every knob starts from."""
Places = dict[str, tuple[str, str]]
"""Method -> run and the method's name there."""


def _same(run: str) -> Places:
    return {method: (run, method) for method in ("translate-test", "lora", "flare")}


def _option(name: str, methods: tuple[str, ...] = ("flare",)) -> Places:
    return {method: (USUAL, f"{method}-{name}") for method in methods}


KNOBS: dict[str, tuple[str, dict[str, Places]]] = {
    "noise": (
        "rate of each kind of error of the translator",
        {"0": _same("lab-noise-0.0"), "0.1": _same(USUAL), "0.3": _same("lab-noise-0.3")},
    ),
    "share": ("share of target text in pre-training", {"0.05": _same(USUAL), "0.20": _same("lab-share-0.20")}),
    "rank": (
        "rank",
        {"2": _option("r2", ("lora", "flare")), "8": _same(USUAL), "32": _option("r32", ("lora", "flare"))},
    ),
    "phi": (
        "fusion function",
        {"add_relu": _same(USUAL)}
        | {p: _option(p) for p in ("add", "mul", "mul_relu", "cross_attention", "cross_attention_paper")},
    ),
    "lead": ("lead", {"1": _same(USUAL), "0": _option("lead-0")}),
}


def read(runs: Path) -> dict[str, Any]:
    """Return run -> method -> score; each difference is against LoRA, over the same examples and seeds."""
    found: dict[str, Any] = {}
    for folder in sorted(runs.glob("lab-*")):
        if not RunFiles(folder).spec.is_file() or not RunFiles(folder).records:
            continue
        results = collect(folder)
        metric, column = results.metrics[0], results.overall
        scores: dict[str, Any] = {}
        for method in results.folder.methods:
            cell = results.cells[metric, method, column]
            if cell.score is None:
                continue
            scores[method] = {
                "score": _points(cell.score.score, cell.score.low, cell.score.high),
                "by_seed": _points(*cell.by_seed),
                "seeds": list(cell.seeds),
                "signature": str(cell.signature),
            }
            if cell.against is not None:
                scores[method]["less_lora"] = _points(cell.against.score, cell.against.low, cell.against.high)
        found[folder.name] = {"metric": metric, "methods": scores}
    return found


def _points(*values: float) -> list[float]:
    return [round(100 * float(value), 2) for value in values]


def table(scores: dict[str, Any], task: str) -> str:
    """Return one task's table: methods by families."""
    lines = ["| method | " + " | ".join(FAMILIES.values()) + " |", "| --- |" + " ---: |" * len(FAMILIES)]
    for method in METHODS:
        cells = [_cell(scores, f"lab-{family}-{task}", method) for family in FAMILIES]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    cells = [_difference(scores, f"lab-{family}-{task}") for family in FAMILIES]
    lines.append("| **flare - lora** | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(scores: dict[str, Any], run: str, method: str) -> str:
    found = scores.get(run, {}).get("methods", {}).get(method)
    if found is None:
        return "not run"
    score, low, high = found["score"]
    return f"{score:.1f} [{low:.1f}, {high:.1f}]" + (
        "" if len(found["seeds"]) == 5 else f" ({len(found['seeds'])} seeds)"
    )


def _difference(scores: dict[str, Any], run: str) -> str:
    found = scores.get(run, {}).get("methods", {}).get("flare", {}).get("less_lora")
    return "not run" if found is None else "{:+.1f} [{:+.1f}, {:+.1f}]".format(*found)


def plot(scores: dict[str, Any], knob: str, path: Path) -> None:
    """Draw every method's score over the values of a knob, with intervals; a dotted line where it has no knob."""
    import io

    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams["svg.hashsalt"] = "crossflare"  # else every drawing has other ids
    title, values = KNOBS[knob]
    figure = Figure(figsize=(4.6, 3.0), layout="constrained")
    axes = figure.subplots()
    for method, colour in (("translate-test", "#8a8a8a"), ("lora", "#3b6ea5"), ("flare", "#c8553d")):
        own = [(x, score) for x, each in enumerate(values.values()) if (score := _score(scores, each.get(method)))]
        if not own:
            continue
        if len(own) == 1:
            axes.axhline(own[0][1][0], color=colour, linestyle=":", label=method)
            continue
        x, y = [place for place, _ in own], [score[0] for _, score in own]
        below, above = [s[0] - s[1] for _, s in own], [s[2] - s[0] for _, s in own]
        style = "none" if knob == "phi" else "-"
        axes.errorbar(x, y, [below, above], color=colour, marker="o", linestyle=style, capsize=3, label=method)
    places = range(len(values))
    axes.set_xticks(
        places, list(values), rotation=25 if knob == "phi" else 0, ha="right" if knob == "phi" else "center"
    )
    axes.set_xlabel(title)
    axes.set_ylabel("accuracy")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="best")
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n")


def _score(scores: dict[str, Any], place: tuple[str, str] | None) -> list[float] | None:
    if place is None:
        return None
    return scores.get(place[0], {}).get("methods", {}).get(place[1], {}).get("score")


def main() -> None:
    """Write numbers, plots and tables."""
    if len(sys.argv) > 1:
        write_json(SCORES, read(Path(sys.argv[1])))
    scores = json.loads(SCORES.read_text(encoding="utf-8"))
    text = PAGE.read_text(encoding="utf-8")
    for task, title in TASKS.items():
        body = f"<!-- {task} -->\n**{title}**\n\n{table(scores, task)}\n<!-- /{task} -->"
        text = re.sub(rf"<!-- {task} -->.*?<!-- /{task} -->", lambda _, made=body: made, text, flags=re.DOTALL)
    write_atomic(PAGE, text)
    for knob in KNOBS:
        plot(scores, knob, HERE / "lab" / f"{knob}.svg")


if __name__ == "__main__":
    main()
