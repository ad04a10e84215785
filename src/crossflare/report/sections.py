"""What stands around the numbers: the finding in words, how the runs were trained, and what they ran on."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from crossflare.evaluation.record import Record, Trial
from crossflare.report.cost import cost_grid
from crossflare.report.methods import upper_bounds
from crossflare.report.power import detectable_grid
from crossflare.report.results import Contrast, Results
from crossflare.report.runs import MACRO, RunFolder
from crossflare.report.tables import Grid, matrix, metric_name, p_text, points, span
from crossflare.report.translation import translation_grids

LEAST = "What the test sets can show"
ANSWER_RULES = {"squad": "SQuAD v1.1 rules", "mlqa": "MLQA rules"}
"""`QuestionTask.normalisation` -> what it is called."""


@dataclass(frozen=True, slots=True)
class Summary:
    """The head of a report."""

    title: str
    facts: tuple[tuple[str, str], ...]
    """Name and value of what was measured."""
    finding: str
    detail: str
    missing: tuple[str, ...]
    """One line for each cell without all its runs."""
    warnings: tuple[str, ...]
    """What a reader must know before believing a number."""


@dataclass(frozen=True, slots=True)
class Section:
    """Tables under a heading."""

    title: str
    grids: tuple[Grid, ...]


def summary(results: Results) -> Summary:
    """Return the head: what was measured, what came out, what is missing."""
    folder = results.folder
    record = next(iter(folder.runs.values())).record
    signature = record.signature_of(results.metrics[0])
    numbers = sorted({len(run.ids) for run in folder.runs.values()})
    facts = (
        ("task", f"{record.task.get('name', '?')} (version {record.task.get('version', '?')}, {signature.split})"),
        ("model", str(record.model.get("name", signature.model))),
        ("languages", ", ".join(folder.languages)),
        ("test examples", _range(numbers) + " a language"),
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
    """Return what the numbers leave out: other seeds, and what languages have in common."""
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
    return tuple(found)


def sections(results: Results) -> list[Section]:
    """Return the tables of checks and of training; those with nothing to say are left out."""

    def each(read: Callable[[Record], Any], show: Callable[[Iterable[Any]], str]) -> Callable[[str, str], str]:
        return lambda method, language: show(
            value for run in results.folder.of(method, language) if (value := read(run.record)) is not None
        )

    def count(*path: str) -> Callable[[str, str], str]:
        return each(lambda record: _dig(record.counts, path), _range)

    chosen = each(lambda r: r.training.get("lr"), _tally)
    tried = each(lambda r: r.training.get("chosen_from"), _trials)
    checks = [
        matrix("texts cut at the window", "method", results, count("truncated", "target")),
        matrix("sources cut at the window", "method", results, count("truncated", "source")),
        matrix("empty texts", "method", results, count("empty")),
        matrix("texts without a source", "method", results, count("no_source")),
    ]
    trained = [
        matrix("learning rate, chosen on the dev part", "method", results, chosen, "×n: by n of the seeds."),
        matrix("rates tried: dev score, in points", "method", results, tried, "Mean over seeds."),
        matrix("steps", "method", results, each(lambda r: r.training.get("steps"), _range)),
    ]
    cost, least = cost_grid(results), detectable_grid(results)
    found = [
        Section(LEAST, (least,) if least else ()),
        Section("Cost and quality", (cost,) if cost else ()),
        Section("Test texts that were cut, empty or without a source", _filled(checks)),
        Section("Translation quality", tuple(translation_grids([run.record for run in results.folder.runs.values()]))),
        Section("Training", _filled(trained)),
    ]
    return [section for section in found if section.grids]


def environment(results: Results) -> dict[str, list[str]]:
    """Return versions, hardware, models, data and engines, each distinct value once with the runs that have it."""
    records = [run.record for run in results.folder.runs.values()]
    found: dict[str, list[str]] = {}
    for title in ("versions", "hardware", "model", "translation"):
        tally = Counter(json.dumps(getattr(record, title), sort_keys=True, ensure_ascii=False) for record in records)
        texts = [text for text in sorted(tally) if text not in ("{}", "null")]
        several = len(tally) > 1
        found[title] = [_lines(json.loads(text)) + (f"\n({tally[text]} runs)" if several else "") for text in texts]
    return {title: values for title, values in found.items() if values}


def _told_apart(task: Mapping[str, Any]) -> tuple[str, str]:
    """Return the fact that says what right means: the labels, or the rules by which answers are compared."""
    if task["labels"]:
        return "labels", ", ".join(map(str, task["labels"]))
    rules = str(task.get("normalisation", "?"))
    return "scored by", ANSWER_RULES.get(rules, rules)


def _finding(results: Results) -> tuple[str, str]:
    """Return the main result in words with its uncertainty, and what it rests on."""
    subject, reference = results.subject, results.reference
    if subject is None or reference is None or subject == reference:
        return "", ""
    shared = [
        column for column in results.columns if all(results.folder.asked(each, column) for each in (subject, reference))
    ]
    if not shared:
        return f"{subject} and {reference} have no language in common.", ""
    # with an average over all languages that is what is said; without one, every language, chosen by nobody
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
    """Return how the subject stands against the best of the other methods: a baseline may be easy to beat."""
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


def _dig(values: Any, path: Iterable[str]) -> Any:
    for name in path:
        values = values.get(name) if isinstance(values, Mapping) else None
    return values


def _range(values: Iterable[Any]) -> str:
    found = sorted(set(values))
    return "–".join(f"{value:,}" for value in dict.fromkeys((found[0], found[-1]))) if found else ""


def _tally(values: Iterable[float]) -> str:
    tally = Counter(values)
    return ", ".join(_rate(value) + (f" ×{n}" if n > 1 else "") for value, n in sorted(tally.items()))


def _trials(seeds: Iterable[list[Trial]]) -> str:
    """Return a line for each learning rate with its dev score, in points, the mean over seeds."""
    tried: dict[float, list[float]] = {}
    for trials in seeds:
        for trial in trials:
            tried.setdefault(trial["lr"], []).append(trial["dev_score"])
    return "\n".join(f"{_rate(lr)}: {points(sum(found) / len(found))}" for lr, found in sorted(tried.items()))


def _rate(value: float) -> str:
    """Return a learning rate as `2.5e-4`."""
    digits, _, power = f"{value:.3e}".partition("e")
    return f"{digits.rstrip('0').rstrip('.')}e{int(power)}"


def _filled(grids: Iterable[Grid]) -> tuple[Grid, ...]:
    """Return the grids without the methods that they say nothing about, and none that say nothing at all."""
    kept = [replace(grid, rows=tuple(row for row in grid.rows if not all(e.empty for e in row[1]))) for grid in grids]
    return tuple(grid for grid in kept if grid.rows)


def _lines(value: Any, indent: str = "") -> str:
    """Return a JSON object as indented lines `name: value`."""
    if not isinstance(value, dict):
        return str(value)
    return "\n".join(
        f"{indent}{name}:\n{_lines(item, indent + '  ')}" if isinstance(item, dict) else f"{indent}{name}: {item}"
        for name, item in value.items()
    )
