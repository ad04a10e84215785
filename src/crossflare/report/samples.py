"""From the runs in one language to resampled scores, the same resamples for all of its methods and seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from crossflare.evaluation.metrics import Labels
from crossflare.evaluation.predictions import ANSWER_METRICS, AnswerPredictions, Predictions
from crossflare.evaluation.significance import Sample, sample, sample_values
from crossflare.report.runs import Run, align


def resample(runs: Sequence[Run]) -> dict[tuple[str, str], Sample]:
    """Return a sample for each metric and method, over the method's seeds.

    Args:
        runs: All runs in one language; a method that some metric cannot measure has no sample of it.

    Raises:
        UserError: Two runs were scored on unlike examples.
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
