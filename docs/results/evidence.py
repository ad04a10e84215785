"""The page of the evidence: `python docs/results/evidence.py` makes its tables and pictures from the published numbers.

It reads the `results.json` of each run below, which publish.py copies, and writes `evidence/NAME.svg` and the tables
between the markers of `evidence.md`; the words around them are kept.
"""

import re
from pathlib import Path
from typing import Any, NamedTuple

from evidence_figures import clear, panels, picture

from crossflare.disk.files import write_atomic
from crossflare.evaluation.folder import RunFiles

HERE = Path(__file__).parent
PAGE, PLACE = HERE / "evidence.md", HERE / "evidence"
GROUPS = {
    "what there was before": ("zero-shot", "translate-test", "lora"),
    "FLARE": ("flare", "flare-proportional", "flare-attention", "flare-clean"),
    "one adapter for all languages": ("lora-joint", "flare-joint"),
    "rivals": ("input-fusion", "xmixup"),
    "combinations, at FLARE's cost at test time": ("ensemble", "stack", "flare+source", "stack-flare"),
    "controls: the trained FLARE adapter with another source": ("flare-no-source", "flare-shuffled"),
    "controls: trained in another way": (
        "relu-lora",
        "lora-slow",
        "flare-on-target",
        "lora-equal-cost",
        "flare-released",
    ),
}
METHODS = [method for methods in GROUPS.values() for method in methods]
SUBJECT = "flare"
MEAN = "macro"
"""The mean of the languages, in results.json."""


class Run(NamedTuple):
    """One published run, as the page shows it."""

    folder: str
    metric: str
    name: str
    """What the table calls the metric."""
    rivals: tuple[str, ...] = ()
    """Methods that FLARE is drawn against, language by language."""


RUNS = {
    "nusax": Run("evidence-nusax", "macro_f1", "macro-F1", ("lora", "relu-lora", "ensemble", "stack")),
    "javanese": Run("evidence-javanese", "macro_f1", "macro-F1"),
    "xnli": Run("evidence-xnli", "accuracy", "accuracy", ("lora", "relu-lora", "translate-test", "stack")),
    "spanish": Run("evidence-xnli-spanish", "accuracy", "accuracy"),
    "joint": Run("evidence-nusax-joint", "macro_f1", "macro-F1"),
}


OVERVIEW = {
    "NusaX, mean of six languages": ("nusax", MEAN),
    "XNLI Swahili": ("xnli", "sw"),
    "XNLI Urdu": ("xnli", "ur"),
    "XNLI Spanish": ("spanish", "es"),
}
"""The first table's lines: a run and one of its languages."""
QUESTIONS = {
    "another row's source": "flare-shuffled",
    "LoRA": "lora",
    "itself without a source": "relu-lora",
    "translate-test": "translate-test",
    "the stack of both": "stack",
}
"""The first table's columns: what FLARE is compared with."""
FAR = "flare-shuffled"
"""The one that no picture shows: too far off for the others to be seen."""


class Numbers(NamedTuple):
    """What a run found in one metric."""

    languages: tuple[str, ...]
    scores: dict[tuple[str, str], Any]
    """(method, language) -> its score."""
    less: dict[tuple[str, str], Any]
    """(method, language) -> FLARE less the method."""

    @property
    def whole(self) -> str:
        """The mean of the languages, or the only one."""
        return self.languages[0] if len(self.languages) == 1 else MEAN

    @property
    def methods(self) -> list[str]:
        """Those with a number there, in the page's order."""
        return [method for method in METHODS if (method, self.whole) in self.scores]


def points(value: float) -> str:
    """Return a score in points."""
    return f"{100 * value:.1f}"


def signed(value: float) -> str:
    """Return a difference in points, with its sign."""
    return f"{100 * value:+.1f}".replace("-", "−")


def read(run: Run) -> Numbers:
    """Return a run's numbers; what is missing there is absent."""
    found = RunFiles(HERE / run.folder).read_results()
    own = [each for each in found["scores"] if each["metric"] == run.metric and each["score"] is not None]
    less = [each for each in found["differences"] if each["metric"] == run.metric and each["score"] is not None]
    languages = tuple(dict.fromkeys(each["language"] for each in own if each["language"] != MEAN))
    return Numbers(
        languages,
        {(each["method"], each["language"]): each for each in own},
        {(each["less"], each["language"]): each for each in less},
    )


def table(run: Run, found: Numbers) -> str:
    """Return one table, a group of methods after the other; of several languages with each of them behind the mean."""
    each = found.languages if len(found.languages) > 1 else ()
    heads = ["method", f"{run.name}, mean" if each else run.name, "seeds", "FLARE less it", *each]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for group, methods in GROUPS.items():
        present = [method for method in methods if method in found.methods]
        lines += [f"| *{group}* |" + " |" * (len(heads) - 1)] if present else []
        for method in present:
            score, gap = found.scores[method, found.whole], found.less.get((method, found.whole))
            cells = [
                method,
                f"{points(score['score'])} ({points(score['low'])}–{points(score['high'])})",
                str(len(score["by_seed"])),
                "" if gap is None else _difference(gap),
            ]
            cells += [points(found.scores[method, language]["score"]) for language in each]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def overview(found: dict[str, Numbers]) -> str:
    """Return FLARE less the few methods that say most, one line for each task and language."""
    lines = [f"| FLARE less … | {' | '.join(QUESTIONS)} | seeds |", "|---" * (len(QUESTIONS) + 2) + "|"]
    for label, (run, language) in OVERVIEW.items():
        numbers = found[run]
        gaps = [_difference(numbers.less[method, language]) for method in QUESTIONS.values()]
        lines.append(f"| {label} | {' | '.join(gaps)} | {len(numbers.scores[SUBJECT, language]['by_seed'])} |")
    return "\n".join(lines)


def _difference(gap: Any) -> str:
    strong = "**" if clear(gap) else ""
    return f"{strong}{signed(gap['score'])} [{signed(gap['low'])}, {signed(gap['high'])}]{strong}"


def _gaps(found: Numbers, language: str) -> dict[str, Any]:
    return {method: gap for (method, place), gap in found.less.items() if place == language}


def main() -> None:
    """Write the pictures, and the tables between the page's markers."""
    found = {name: read(run) for name, run in RUNS.items()}
    tables = {name: table(run, found[name]) for name, run in RUNS.items()} | {"overview": overview(found)}
    panels(
        {label: _gaps(found[run], language) for label, (run, language) in OVERVIEW.items()},
        {title: method for title, method in QUESTIONS.items() if method != FAR},
        PLACE / "overview.svg",
    )
    for name, run in RUNS.items():
        whole = found[name].whole
        scores = {method: found[name].scores[method, whole] for method in found[name].methods}
        mean = ", mean" if len(found[name].languages) > 1 else ""
        picture(scores, _gaps(found[name], whole), SUBJECT, run.name + mean, PLACE / f"{name}.svg")
        if run.rivals:
            languages = {"mean": MEAN} | {each: each for each in found[name].languages}
            rows = {label: _gaps(found[name], language) for label, language in languages.items()}
            panels(rows, {each: each for each in run.rivals}, PLACE / f"{name}-languages.svg")
    page = PAGE.read_text(encoding="utf-8")
    for name, made in tables.items():
        new = f"<!-- table {name} -->\n{made}\n<!-- end -->"
        page = re.sub(rf"<!-- table {name} -->.*?<!-- end -->", lambda _, new=new: new, page, flags=re.DOTALL)
    write_atomic(PAGE, page)


if __name__ == "__main__":
    main()
