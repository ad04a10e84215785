"""The values of a run folder's numbers: scores, differences and ranks, with their intervals."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import TypeVar

from crossflare.errors import UserError
from crossflare.evaluation.metrics import METRICS
from crossflare.evaluation.predictions import ANSWER_METRICS
from crossflare.evaluation.signature import Signature, check_comparable, combine
from crossflare.evaluation.significance import (
    Difference,
    Interval,
    Sample,
    average_ranks,
    interval,
    paired_difference,
)
from crossflare.report.details import (
    Calibrated,
    PerLabel,
    Place,
    Power,
    best_methods,
    calibrations,
    costs,
    per_label,
    powers,
)
from crossflare.report.methods import unranked, upper_bounds
from crossflare.report.resample import (
    NOT_MEASURED,
    PairedTests,
    Samples,
    compare_pairs,
    sample_in,
    samples_of,
)
from crossflare.report.runs import MACRO, RunFolder, read_runs


@dataclass(frozen=True, slots=True)
class MethodScore:
    """One number: a method's mean over seeds in one language, or over all languages. `gap` says why there is none."""

    metric: str
    method: str
    language: str
    score: Interval | None
    seeds: tuple[int, ...]
    by_seed: tuple[float, ...]
    """The score of each of `seeds`."""
    missing: tuple[int, ...]
    """Seeds that the recipe asks for and that are not in the score."""
    signature: Signature | None
    against: Difference | None
    """This method minus the reference."""
    tested: PairedTests | None = None
    """The paired tests of that difference."""
    q: float | None = None
    """See `Contrast.q`."""
    gap: str = ""
    """Why there is no score."""
    left_out: bool = False
    """Whether there is no score because the recipe asks for none."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """The subject minus another method."""

    metric: str
    method: str
    language: str
    difference: Difference | None
    tested: PairedTests | None = None
    """The paired tests of the difference."""
    q: float | None = None
    """The permutation test's p after Benjamini and Hochberg over the languages; the macro average is apart.

    Each pair of methods is a family of its own: with all methods in one family, the methods that everything beats would
    lend their small p to the close ones.
    """
    gap: str = ""
    left_out: bool = False
    """Whether there is no difference because the recipe does not ask for both in that language."""


@dataclass(frozen=True, slots=True)
class Results:
    """All values of a report."""

    folder: RunFolder
    metrics: tuple[str, ...]
    """The metrics, the main one first."""
    subject: str | None
    reference: str | None
    cells: Mapping[tuple[str, str, str], MethodScore]
    """(metric, method, language) -> the score."""
    contrasts: Mapping[tuple[str, str, str], Contrast]
    ranks: Mapping[tuple[str, str], Interval]
    """(metric, method) -> the mean of its ranks over languages, among the methods run in all with the same seeds."""
    per_label: Mapping[Place, PerLabel] = field(default_factory=dict[Place, PerLabel])
    """(method, language) -> the scores of single labels, for the best methods; empty for questions."""
    calibrated: Mapping[Place, Calibrated] = field(default_factory=dict[Place, Calibrated])
    """(method, language) -> how good the probabilities are, where records have temperatures."""
    costs: Mapping[str, Mapping[str, float]] = field(default_factory=dict[str, Mapping[str, float]])
    """Kind of cost -> method -> the mean cost of a run."""
    power: Mapping[str | None, Power] = field(default_factory=dict[str | None, Power])
    """Language, or None for their mean -> what the test rows can show about subject and reference, where both are."""

    @property
    def columns(self) -> tuple[str, ...]:
        """See `RunFolder.columns`."""
        return self.folder.columns

    @property
    def overall(self) -> str:
        """The column that summarises a method."""
        return self.columns[0]

    def contrasted(self, metric: str) -> tuple[str, ...]:
        """Return the columns in which the recipe asks for the subject and at least one other method."""
        return tuple(
            column
            for column in self.columns
            if any(
                not each.left_out
                for each in self.contrasts.values()
                if each.metric == metric and each.language == column
            )
        )


SUBJECT, REFERENCE = "flare", "lora"
Sampled = Callable[[str, str, str], Sample | str]
"""(metric, method, language) -> a sample, or why there is none."""


def collect(run_dir: Path) -> Results:
    """Read a run folder and compute every number of its report.

    Raises:
        UserError: See `read_runs`.
    """
    folder = read_runs(run_dir)
    samples = samples_of(folder)
    sample = cache(partial(sample_in, folder, samples))
    difference = cache(partial(_difference, folder, sample))
    metrics = _metrics(folder)
    subject, reference = _role(folder, SUBJECT), _role(folder, REFERENCE)
    pairs = [(subject, each) for each in folder.methods if subject is not None and each != subject]
    pairs += [(each, reference) for each in folder.methods if reference is not None and each != reference]
    tests = compare_pairs(folder, metrics, list(dict.fromkeys(pairs)))
    cells: dict[tuple[str, str, str], MethodScore] = {}
    contrasts: dict[tuple[str, str, str], Contrast] = {}
    for metric in metrics:
        for method in folder.methods:
            for language in folder.columns:
                cell = _cell(folder, sample, difference, metric, method, language, reference)
                test = tests.get((metric, (method, reference or ""), language)) if cell.against else None
                cells[metric, method, language] = replace(cell, tested=test)
                if subject is not None and method != subject:
                    found = difference(metric, subject, method, language)
                    gap, value = (found, None) if isinstance(found, str) else ("", found)
                    both = all(folder.asked(each, language) for each in (subject, method))
                    out = value is None and (gap == NOT_MEASURED or not both)
                    test = tests.get((metric, (subject, method), language)) if value else None
                    contrasts[metric, method, language] = Contrast(
                        metric, method, language, value, test, gap=gap, left_out=out
                    )
    ranks = {(metric, name): rank for metric in metrics for name, rank in _ranks(folder, samples, metric).items()}
    main = {
        (method, language): cell.score for (metric, method, language), cell in cells.items() if metric == metrics[0]
    }
    labels = per_label(folder, best_methods(folder, main, subject, upper_bounds(folder)))
    main_pair = (subject, reference) if subject and reference and subject != reference else None
    return Results(
        folder,
        metrics,
        subject,
        reference,
        _adjust(cells),
        _adjust(contrasts),
        ranks,
        per_label=labels,
        calibrated=calibrations(folder),
        costs=costs(folder),
        power=powers(folder, main_pair, metrics[0]) if main_pair else {},
    )


def _signature(folder: RunFolder, metric: str, method: str, language: str, seeds: tuple[int, ...]) -> Signature:
    languages = folder.languages if language == MACRO else (language,)
    runs = [[folder.runs[method, each, seed].record.signature_of(metric) for seed in seeds] for each in languages]
    over_seeds = [combine(each) for each in runs]
    return combine(over_seeds, languages=True) if language == MACRO else over_seeds[0]


def _cell(
    folder: RunFolder,
    sample: Sampled,
    difference: Callable[[str, str, str, str], Difference | str],
    metric: str,
    method: str,
    language: str,
    reference: str | None,
) -> MethodScore:
    found = sample(metric, method, language)
    if isinstance(found, str):
        out = not folder.asked(method, language) or found == NOT_MEASURED
        return MethodScore(
            metric, method, language, None, (), (), () if out else folder.seeds, None, None, gap=found, left_out=out
        )
    missing = tuple(seed for seed in folder.seeds if seed not in found.seeds)
    by_seed = tuple(map(float, found.observed))
    try:
        signature = _signature(folder, metric, method, language, found.seeds)
    except UserError as error:
        return MethodScore(metric, method, language, None, found.seeds, by_seed, missing, None, None, gap=str(error))
    less = difference(metric, method, reference, language) if reference is not None and method != reference else ""
    against = None if isinstance(less, str) else less
    return MethodScore(metric, method, language, interval(found), found.seeds, by_seed, missing, signature, against)


def _difference(
    folder: RunFolder, sample: Sampled, metric: str, first: str, second: str, language: str
) -> Difference | str:
    """Return first - second over the seeds that both have, or why there is none."""
    a, b = (sample(metric, method, language) for method in (first, second))
    if isinstance(a, str) or isinstance(b, str):
        return a if isinstance(a, str) else str(b)
    seeds = tuple(seed for seed in a.seeds if seed in b.seeds)
    if not seeds:
        return "no seed in common"
    try:
        check_comparable(*(_signature(folder, metric, method, language, seeds) for method in (first, second)))
    except UserError as error:
        return str(error)
    return paired_difference(a.pick(seeds), b.pick(seeds))


Row = TypeVar("Row", MethodScore, Contrast)


def _adjust(found: Mapping[tuple[str, str, str], Row]) -> dict[tuple[str, str, str], Row]:
    """Return the values with q: p corrected for the number of languages, for each method and metric separately."""
    from scipy.stats import false_discovery_control

    adjusted = dict(found)
    families: dict[tuple[str, str], dict[tuple[str, str, str], float]] = {}
    for key, each in found.items():
        if key[2] != MACRO and each.tested is not None and each.tested.p is not None:
            families.setdefault(key[:2], {})[key] = each.tested.p
    for family in families.values():
        for key, q in zip(family, false_discovery_control(list(family.values())), strict=True):
            adjusted[key] = replace(found[key], q=float(q))
    return adjusted


def _ranks(folder: RunFolder, samples: Samples, metric: str) -> dict[str, Interval]:
    """Return the average ranks of the methods that were run everywhere; none for fewer than three, or one language."""
    everywhere = {
        method: parts
        for method in folder.methods
        if method not in unranked(folder)
        and len(parts := [s for x in folder.languages if (s := samples.get((metric, method, x)))])
        == len(folder.languages)
    }
    seeds = folder.shared_seeds(everywhere, folder.languages)
    if len(everywhere) < 3 or len(folder.languages) < 2 or not seeds:
        return {}
    return average_ranks({method: [part.pick(seeds) for part in parts] for method, parts in everywhere.items()})


def _metrics(folder: RunFolder) -> tuple[str, ...]:
    """Return the metrics with the task's main one first; macro-F1 or F1 where the records name none."""
    task = next(iter(folder.runs.values())).record.task
    measured = {name for run in folder.runs.values() for name in run.record.scores}
    if task["labels"]:
        known, usual = [name for name in sorted(METRICS) if name in measured], "macro_f1"
    else:
        known, usual = [name for name in ANSWER_METRICS if name in measured], "f1"
    named = task.get("main_metric")
    main = named if named in known else usual
    return tuple(sorted(known, key=lambda name: name != main))


def _role(folder: RunFolder, name: str) -> str | None:
    """Return the method of that name, or else the first of that kind."""
    if name in folder.methods:
        return name
    kinds = {str(run.record.method["name"]): run.record.method.get("kind") for run in folder.runs.values()}
    return next((method for method in folder.methods if kinds.get(method) == name), None)
