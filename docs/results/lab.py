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

from crossflare.files import write_atomic, write_json
from crossflare.report.collect import collect

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
USUAL = "lab-encoder-nli"
"""The run that every knob starts from."""
KNOBS: dict[str, tuple[str, dict[str, str]]] = {
    "noise": (
        "rate of each kind of error of the translator",
        {"0": "lab-noise-0.0", "0.1": USUAL, "0.2": "lab-noise-0.2", "0.4": "lab-noise-0.4"},
    ),
    "share": (
        "share of target text in pre-training",
        {"0.01": "lab-share-0.01", "0.05": USUAL, "0.20": "lab-share-0.20", "0.50": "lab-share-0.50"},
    ),
    "rank": ("rank", {r: USUAL if r == "8" else f"lab-rank-{r}" for r in ("1", "2", "4", "8", "16", "32")}),
    "phi": (
        "fusion function",
        {"add_relu": USUAL}
        | {p: f"lab-phi-{p}" for p in ("add", "mul", "mul_relu", "cross_attention", "cross_attention_paper")},
    ),
    "lead": ("lead", {"1": USUAL, "0": "lab-lead-0"}),
}


def read(runs: Path) -> dict[str, Any]:
    """Return run -> method -> score; each difference is against LoRA, over the same examples and seeds."""
    found: dict[str, Any] = {}
    for folder in sorted(runs.glob("lab-*")):
        if not (folder / "spec.yaml").is_file() or not any(folder.glob("records/*.json")):
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
    """Draw every method's score over the values of a knob, with intervals."""
    import io

    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams["svg.hashsalt"] = "crossflare"  # else every drawing has other ids
    title, values = KNOBS[knob]
    figure = Figure(figsize=(4.6, 3.0), layout="constrained")
    axes = figure.subplots()
    places = list(range(len(values)))
    for method, colour in (("translate-test", "#8a8a8a"), ("lora", "#3b6ea5"), ("flare", "#c8553d")):
        points = [scores.get(run, {}).get("methods", {}).get(method) for run in values.values()]
        own = [(x, point["score"]) for x, point in zip(places, points, strict=True) if point]
        if knob in ("phi", "lead") and method != "flare":
            usual = scores.get(USUAL, {}).get("methods", {}).get(method)
            if usual:
                axes.axhline(usual["score"][0], color=colour, linestyle=":", label=method)
            continue
        if own:
            x, y = [place for place, _ in own], [score[0] for _, score in own]
            below, above = [s[0] - s[1] for _, s in own], [s[2] - s[0] for _, s in own]
            style = "none" if knob == "phi" else "-"
            axes.errorbar(x, y, [below, above], color=colour, marker="o", linestyle=style, capsize=3, label=method)
    axes.set_xticks(
        places, list(values), rotation=25 if knob == "phi" else 0, ha="right" if knob == "phi" else "center"
    )
    axes.set_xlabel(title)
    axes.set_ylabel("accuracy")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n")


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
