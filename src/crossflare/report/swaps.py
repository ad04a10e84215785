"""From the runs in each language to paired tests of methods, with the same examples swapped for all of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from crossflare.errors import UserError
from crossflare.evaluation.metrics import IntArray
from crossflare.evaluation.paired import Pair, Swapped, label_pair, mcnemar, swap, swap_mean, value_pair
from crossflare.evaluation.predictions import AnswerPredictions, Predictions
from crossflare.progress import track
from crossflare.report.runs import MACRO, RunFolder

Methods = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What tests over examples say of two methods with the seeds that both have."""

    p: float | None
    """Of the permutation test, two-sided; None where `refusal` says why."""
    mcnemar: float | None = None
    """The exact p of McNemar's test: of accuracy with a single seed, which is what it tests."""
    refusal: str = ""


def compare_pairs(
    folder: RunFolder, metrics: Sequence[str], pairs: Sequence[Methods]
) -> dict[tuple[str, Methods, str], Outcome]:
    """Return the tests of pairs of methods by metric, pair and language, `MACRO` among them where there are several.

    The runs in one language are over the same examples: see `runs.align`.
    """
    found: dict[tuple[str, Methods, str], Outcome] = {}
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
                found[metric, pair, language] = Outcome(drawn[metric, pair, seeds].p, exact)
    for metric in metrics if len(folder.languages) > 1 else ():
        for pair, seeds in together.items():
            parts = [swapped.get((metric, pair, seeds, language)) for language in folder.languages]
            if all(parts):
                found[metric, pair, MACRO] = _mean([part for part in parts if part is not None])
    return found


def _mean(parts: Sequence[Swapped]) -> Outcome:
    try:
        return Outcome(swap_mean(parts).p)
    except UserError as error:
        return Outcome(None, refusal=str(error))


def _pair(folder: RunFolder, language: str, metric: str, pair: Methods, seeds: tuple[int, ...]) -> Pair | None:
    """Return what two methods answered, or None where they have no seed in common or one has not that metric."""
    if not seeds:
        return None
    first = folder.runs[pair[0], language, seeds[0]]
    if isinstance(first.predictions, Predictions):
        a, b = (_labels(folder, language, method, seeds) for method in pair)
        over = first.record.labels  # a pair of two rules has no difference, hence no test that anyone reads
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
