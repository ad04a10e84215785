"""Resampled scores and paired tests: the same resamples and the same swaps for all methods of a language."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from crossflare.errors import UserError
from crossflare.evaluation.metrics import IntArray, Labels
from crossflare.evaluation.paired import Pair, Swapped, label_pair, mcnemar, swap, swap_mean, value_pair
from crossflare.evaluation.predictions import ANSWER_METRICS, AnswerPredictions, Predictions
from crossflare.evaluation.significance import Sample, macro, sample, sample_values
from crossflare.progress import track
from crossflare.report.runs import MACRO, Run, RunFolder, align


def resample(runs: Sequence[Run]) -> dict[tuple[str, str], Sample]:
    """Return a sample for each metric and method, over the method's seeds.

    Args:
        runs: All runs in one language; a method that a metric cannot measure has no sample of it.

    Raises:
        UserError: Two runs were scored on different examples.
    """
    if not runs:
        return {}
    align(runs)
    found: dict[tuple[str, str], Sample] = {}
    for group, drawn in _groups(runs):
        for method in dict.fromkeys(_method(run) for run in group):
            where = [index for index, run in enumerate(group) if _method(run) == method]
            seeds = tuple(group[index].record.seed for index in where)
            for metric, each in drawn.items():
                found[metric, method] = replace(each.pick(where), seeds=seeds)
    return found


def _groups(runs: Sequence[Run]) -> list[tuple[Sequence[Run], Mapping[str, Sample]]]:
    """Return the samples of columns of runs, each with the runs: one group for all metrics that all runs have."""
    labels = [run.predictions for run in runs if isinstance(run.predictions, Predictions)]
    if labels:
        return [(runs, _sample_labels(runs, labels))]
    groups: dict[tuple[int, ...], list[str]] = {}
    values = [run.predictions.values if isinstance(run.predictions, AnswerPredictions) else {} for run in runs]
    for metric in ANSWER_METRICS:
        groups.setdefault(tuple(index for index, each in enumerate(values) if metric in each), []).append(metric)
    return [
        ([runs[index] for index in where], _sample_answers([runs[index] for index in where], metrics))
        for where, metrics in groups.items()
        if where
    ]


def _sample_labels(runs: Sequence[Run], labels: Sequence[Predictions]) -> dict[str, Sample]:
    """Return the samples of labels, each run by the rule of its own record (see `Labels`)."""
    rules: list[Labels] = [run.record.labels for run in runs]
    predicted, classes = np.stack([each.predicted for each in labels]), len(runs[0].record.task["labels"])
    drawn = {
        rule: sample(labels[0].ids, labels[0].gold, predicted, classes, range(len(runs)), labels=rule)
        for rule in dict.fromkeys(rules)
    }
    first = drawn[rules[0]]
    if len(drawn) == 1:
        return first
    return {
        metric: replace(
            each,
            observed=np.array([drawn[rule][metric].observed[place] for place, rule in enumerate(rules)]),
            resampled=np.stack([drawn[rule][metric].resampled[:, place] for place, rule in enumerate(rules)], axis=1),
        )
        for metric, each in first.items()
    }


def _sample_answers(runs: Sequence[Run], metrics: Sequence[str]) -> dict[str, Sample]:
    answers = [run.predictions for run in runs if isinstance(run.predictions, AnswerPredictions)]
    columns = {metric: np.stack([each.values[metric] for each in answers]) for metric in metrics}
    return sample_values(answers[0].ids, answers[0].golds, columns, range(len(answers)))


def _method(run: Run) -> str:
    return str(run.record.method["name"])


LEFT_OUT = "not in recipe"
"""The gap of a language that the recipe leaves out for a method: nothing is missing there."""
NOT_MEASURED = "not measured"
"""The gap of a metric that does not exist for a method: a model that writes text points at no position."""
Samples = Mapping[tuple[str, str, str], Sample]
"""(metric, method, language) -> the sample of their scores."""


def samples_of(folder: RunFolder) -> Samples:
    """Resample every language once for all its methods and seeds."""
    found: dict[tuple[str, str, str], Sample] = {}
    for language in track(folder.languages, "resampling", len(folder.languages)):
        runs = [run for method in folder.methods for run in folder.of(method, language)]
        for (metric, method), drawn in resample(runs).items():
            found[metric, method, language] = drawn
    return found


def sample_in(folder: RunFolder, samples: Samples, metric: str, method: str, language: str) -> Sample | str:
    """Return a sample, or why there is none; the macro average is over the seeds that all languages have."""
    if language != MACRO:
        gap = "not run" if folder.asked(method, language) else LEFT_OUT
        return samples.get((metric, method, language)) or (NOT_MEASURED if folder.of(method, language) else gap)
    parts = [samples.get((metric, method, each)) for each in folder.languages]
    present = [part for part in parts if part is not None]
    if len(present) < len(parts):
        if not present and any(folder.of(method, each) for each in folder.languages):
            return NOT_MEASURED
        return f"{len(present)} of {len(parts)} languages" if present else "not run"
    seeds = [seed for seed in folder.seeds if all(seed in part.seeds for part in present)]
    return macro([part.pick(seeds) for part in present]) if seeds else "no seed in all languages"


Methods = tuple[str, str]


@dataclass(frozen=True, slots=True)
class PairedTests:
    """The results of tests over examples for two methods, with the seeds that both have."""

    p: float | None
    """The two-sided p of the permutation test; None where `refusal` says why."""
    mcnemar: float | None = None
    """The exact p of McNemar's test, for accuracy with a single seed, which is what it tests."""
    refusal: str = ""


def compare_pairs(
    folder: RunFolder, metrics: Sequence[str], pairs: Sequence[Methods]
) -> dict[tuple[str, Methods, str], PairedTests]:
    """Return the tests of pairs of methods by metric, pair and language, with `MACRO` where languages are several.

    The runs in one language are over the same examples: see `runs.align`.
    """
    found: dict[tuple[str, Methods, str], PairedTests] = {}
    swapped: dict[tuple[str, Methods, tuple[int, ...], str], Swapped] = {}
    together = {pair: folder.shared_seeds(pair, folder.languages) for pair in pairs}
    for language in track(folder.languages, "permuting", len(folder.languages)):
        alone = {pair: folder.shared_seeds(pair, [language]) for pair in pairs}
        asked = dict.fromkeys(
            (metric, pair, each[pair]) for metric in metrics for pair in pairs for each in (alone, together)
        )
        made = {key: pair for key in asked if (pair := _pair(folder, language, *key)) is not None}
        if not made:
            continue
        ids = next(run.ids for run in folder.runs.values() if run.record.language == language)
        drawn = swap(language, ids, made)
        swapped |= {(*key, language): each for key, each in drawn.items()}
        for metric, pair, seeds in made:
            if seeds == alone[pair]:
                exact = _mcnemar(folder, language, pair, seeds) if metric == "accuracy" else None
                found[metric, pair, language] = PairedTests(drawn[metric, pair, seeds].p, exact)
    for metric in metrics if len(folder.languages) > 1 else ():
        for pair, seeds in together.items():
            parts = [swapped.get((metric, pair, seeds, language)) for language in folder.languages]
            if all(parts):
                found[metric, pair, MACRO] = _mean([part for part in parts if part is not None])
    return found


def _mean(parts: Sequence[Swapped]) -> PairedTests:
    try:
        return PairedTests(swap_mean(parts).p)
    except UserError as error:
        return PairedTests(None, refusal=str(error))


def _pair(folder: RunFolder, language: str, metric: str, pair: Methods, seeds: tuple[int, ...]) -> Pair | None:
    """Return the answers of two methods, or None where they share no seed or one does not have that metric."""
    if not seeds:
        return None
    first = folder.runs[pair[0], language, seeds[0]]
    if isinstance(first.predictions, Predictions):
        a, b = (_labels(folder, language, method, seeds) for method in pair)
        over = first.record.labels  # a pair with two rules has no difference to show, and so no test
        return label_pair(first.predictions.gold, a, b, len(first.record.task["labels"]), metric, over)
    runs = [[folder.runs[method, language, seed].predictions for seed in seeds] for method in pair]
    values = [
        [each.values[metric] for each in side if isinstance(each, AnswerPredictions) and metric in each.values]
        for side in runs
    ]
    return value_pair(*values) if all(len(side) == len(seeds) for side in values) else None


def _labels(folder: RunFolder, language: str, method: str, seeds: tuple[int, ...]) -> IntArray:
    found = [folder.runs[method, language, seed].predictions for seed in seeds]
    return np.stack([each.predicted for each in found if isinstance(each, Predictions)])


def _mcnemar(folder: RunFolder, language: str, pair: Methods, seeds: tuple[int, ...]) -> float | None:
    first = folder.runs[pair[0], language, seeds[0]].predictions
    if len(seeds) > 1 or not isinstance(first, Predictions):
        return None
    return mcnemar(first.gold, *(_labels(folder, language, method, seeds)[0] for method in pair))
