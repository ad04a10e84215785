"""The head of a report: what was measured, the result in words, what is missing, and cautions."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from crossflare.evaluation.predictions import Predictions
from crossflare.report.grid import p_text, points, span
from crossflare.report.methods import upper_bounds
from crossflare.report.results import Contrast, Results
from crossflare.report.runs import MACRO, RunFolder
from crossflare.report.tables import metric_name
from crossflare.training.loop.settings import few_steps

RULES = {
    "met": "macro-F1 is the mean over the labels that occur there or were predicted",
    "all": "macro-F1 counts each such label as 0, by the rule of these older records",
}
"""`Record.labels` -> its rule for labels that do not occur."""


def label_warnings(folder: RunFolder) -> list[str]:
    """Return a line for each language and method whose scores need one; for questions, those that are left out."""
    return [*_unanswerable(folder), *_absent(folder), *_barely_trained(folder), *_collapsed(folder)]


def _unanswerable(folder: RunFolder) -> list[str]:
    found: list[str] = []
    for language in folder.languages:
        records = [run.record for method in folder.methods for run in folder.of(method, language)]
        count = max((int(record.counts.get("unanswerable", 0)) for record in records), default=0)
        if count:
            found.append(f"{language}: {count} test questions have no answer and are left out of the scores.")
    return found


def _absent(folder: RunFolder) -> list[str]:
    found: list[str] = []
    for language in folder.languages:
        runs = [run for method in folder.methods for run in folder.of(method, language)]
        seen = next((run.predictions for run in runs if isinstance(run.predictions, Predictions)), None)
        if seen is None:
            continue
        names = [str(label) for label in runs[0].record.task["labels"]]
        there = set(seen.gold.tolist())
        absent = [name for place, name in enumerate(names) if place not in there]
        if len(there) == 1:
            only = names[there.pop()]
            found.append(
                f"{language}: every test row has the label {only}: a model that says nothing else scores 100 there, so "
                "its scores show nothing."
            )
        elif absent:
            rules = "; ".join(RULES[rule] for rule in dict.fromkeys(run.record.labels for run in runs))
            found.append(f"{language}: no test row has the label {' or '.join(absent)}; {rules}.")
    return found


def _barely_trained(folder: RunFolder) -> list[str]:
    found: dict[str, list[str]] = {}
    for method in folder.methods:
        records = [run.record for language in folder.languages for run in folder.of(method, language)]
        said = {few_steps(int(record.training.get("steps", 0))) for record in records}
        only = {f"all {part} rows had the label {label}" for record in records
                for part, label in dict(record.data.get("one_label") or {}).items()}  # fmt: skip
        for line in sorted({*said, *only} - {""}):
            found.setdefault(line, []).append(method)
    return [f"{', '.join(methods)}: {line}." for line, methods in found.items()]


def _collapsed(folder: RunFolder) -> list[str]:
    found: dict[str, list[str]] = {}
    for method in folder.methods:
        places: list[str] = []
        for language in folder.languages:
            seeds = [run.record.seed for run in folder.of(method, language) if _says_one_thing(run.predictions)]
            places += [f"{language} (seed {', '.join(map(str, seeds))})"] if seeds else []
        if places:
            found.setdefault("; ".join(places), []).append(method)
    return [
        f"{', '.join(methods)}: every test row got the same label in {where}; nothing was learnt to tell them apart."
        for where, methods in found.items()
    ]


def _says_one_thing(predictions: object) -> bool:
    """Whether all rows got one label, though they have more than one."""
    if not isinstance(predictions, Predictions):
        return False
    return len(set(predictions.predicted.tolist())) == 1 < len(set(predictions.gold.tolist()))


ANSWER_RULES = {"squad": "SQuAD v1.1 rules", "mlqa": "MLQA rules"}
"""`QuestionTask.normalisation` -> its name."""


@dataclass(frozen=True, slots=True)
class Summary:
    """The head of a report."""

    title: str
    facts: tuple[tuple[str, str], ...]
    """(name, value) of each fact about the measurement."""
    finding: str
    detail: str
    missing: tuple[str, ...]
    """One line for each cell without all its runs."""
    warnings: tuple[str, ...]
    """What a reader must know before believing a number."""


def summary(results: Results) -> Summary:
    """Return the head: what was measured, the result, and what is missing."""
    folder = results.folder
    record = next(iter(folder.runs.values())).record
    signature = record.signature_of(results.metrics[0])
    numbers = sorted({len(run.ids) for run in folder.runs.values()})
    facts = (
        ("task", f"{record.task.get('name', '?')} (version {record.task.get('version', '?')}, {signature.split})"),
        ("model", str(record.model.get("name", signature.model))),
        ("languages", ", ".join(folder.languages)),
        ("test examples", range_text(numbers) + " a language"),
        _told_apart(record.task),
        ("seeds", ", ".join(map(str, folder.seeds))),
        ("runs", f"{len(folder.runs)} of {len(folder.runs) + len(folder.missing)}"),
    )
    finding, detail = _finding(results)
    lost: dict[tuple[str, str], list[int]] = {}
    for method, language, seed in folder.missing:
        lost.setdefault((method, language), []).append(seed)
    missing = tuple(
        f"{method} in {language}: seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
        for (method, language), seeds in lost.items()
    )
    return Summary(folder.name, facts, finding, detail, missing, _warnings(folder))


def _warnings(folder: RunFolder) -> tuple[str, ...]:
    """Return what the numbers do not cover: other seeds, and what languages have in common."""
    found: list[str] = []
    if len(folder.seeds) == 1:
        found.append(
            "One seed only: the intervals are over test examples alone. How far another seed would move these scores "
            "is not known; give the recipe at least three."
        )
    ids = {language: run.ids for (_, language, _), run in folder.runs.items()}
    mixed = [f"{a} and {b}" for a, b in combinations(ids, 2) if ids[a] != ids[b] and set(ids[a]) & set(ids[b])]
    if mixed:
        found.append(
            f"{', '.join(mixed)} share some test items but not all: they are resampled as if they had none in common, "
            "and no paired test is made of their mean."
        )
    return (*found, *label_warnings(folder))


def _told_apart(task: Mapping[str, Any]) -> tuple[str, str]:
    """Return the fact that defines a right answer: the labels, or the rules by which answers are compared."""
    if task["labels"]:
        return "labels", ", ".join(map(str, task["labels"]))
    rules = str(task.get("normalisation", "?"))
    return "scored by", ANSWER_RULES.get(rules, rules)


def _finding(results: Results) -> tuple[str, str]:
    """Return the main result in words with its uncertainty, and what it is based on."""
    subject, reference = results.subject, results.reference
    if subject is None or reference is None or subject == reference:
        return "", ""
    shared = [
        column for column in results.columns if all(results.folder.asked(each, column) for each in (subject, reference))
    ]
    if not shared:
        return f"{subject} and {reference} have no language in common.", ""
    # with an average over all languages, say only that; without one, say every language, so that none is selected
    said = [_finding_in(results, subject, reference, column) for column in shared[: 1 if MACRO in shared else None]]
    verdict, detail = (" ".join(parts).strip() for parts in zip(*said, strict=True))
    return verdict, detail


def _finding_in(results: Results, subject: str, reference: str, column: str) -> tuple[str, str]:
    metric = results.metrics[0]
    cell, other = (results.cells[metric, method, column] for method in (subject, reference))
    contrast = results.contrasts[metric, reference, column]
    found = contrast.difference
    where = f"on average over {len(results.folder.languages)} languages" if column == MACRO else f"in {column}"
    if found is None or cell.score is None or other.score is None:
        place = "" if column == results.overall else f" {where}"
        return f"{subject} and {reference} cannot be compared yet{place}: runs are missing.", ""
    name = metric_name(metric)
    side, by = "above" if found.score > 0 else "below", points(abs(found.score))
    verdict = (
        f"{subject} is {side} {reference} by {by} points of {name} {where}."
        if found.clear
        else f"{subject} and {reference} cannot be told apart in {name} {where}."
    )
    over = f"and {len(cell.seeds)} seeds" if len(cell.seeds) > 1 else "alone (one seed)"
    detail = (
        f"{subject} {points(cell.score.score)} ({span(cell.score)}), {reference} {points(other.score.score)} "
        f"({span(other.score)}); paired difference {points(found.score, signed=True)} {span(found, signed=True)}, "
        f"{_p(contrast)}95 % intervals over test examples {over}."
    )
    return verdict, f"{detail} {_rival(results, column)}".strip()


def _rival(results: Results, column: str) -> str:
    """Return how the subject compares with the best of the other methods: a baseline may be easy to beat."""
    metric, subject, bounds = results.metrics[0], results.subject, upper_bounds(results.folder)
    others = {
        method: cell.score.score
        for (name, method, where), cell in results.cells.items()
        if name == metric and where == column and method not in (subject, *bounds) and cell.score is not None
    }
    best = max(others, key=lambda method: others[method], default=None)
    contrast = results.contrasts.get((metric, best, column)) if best is not None else None
    if best in (None, results.reference) or contrast is None or contrast.difference is None:
        return ""
    gap = contrast.difference
    verdict = f"{'above' if gap.score > 0 else 'below'} it" if gap.clear else "not to be told apart from it"
    return (
        f"The best other method is {best}: {subject} is {verdict} ({points(gap.score, signed=True)} "
        f"{span(gap, signed=True)})."
    )


def _p(contrast: Contrast) -> str:
    """Return the p of the paired test with a comma, where there is one."""
    tested = contrast.tested
    return f"permutation test p {p_text(tested.p)}, " if tested and tested.p is not None else ""


def range_text(values: Iterable[Any]) -> str:
    """Return the least and the greatest of some numbers, or the single value that they all have."""
    found = sorted(set(values))
    return "–".join(f"{value:,}" for value in dict.fromkeys((found[0], found[-1]))) if found else ""
