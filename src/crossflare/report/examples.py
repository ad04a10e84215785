"""Test rows to read: those on which the main methods disagree, and those that most methods get wrong.

The texts are in `examples/<language>.jsonl` of the run folder, apart from predictions and records: they are rows of a
data set, only the page shows them, and nothing is computed from them.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from crossflare.evaluation.folder import RowTexts, RunFiles
from crossflare.evaluation.metrics import FloatArray
from crossflare.evaluation.predictions import AnswerPredictions
from crossflare.report.details import item_scores
from crossflare.report.methods import grouped
from crossflare.report.results import Results
from crossflare.report.runs import RunFolder

SHOWN = 10
"""How many rows of each language are shown."""


@dataclass(frozen=True, slots=True)
class AnswerGroup:
    """One answer and the methods that gave it."""

    answer: str
    right: bool
    methods: tuple[str, ...]
    """The methods that gave it, each with the number of seeds where only some of its seeds did."""


@dataclass(frozen=True, slots=True)
class ShownExample:
    """One test row with the answers to it."""

    id: str
    texts: tuple[str, ...]
    source: tuple[str, ...]
    """Empty where the row has no source."""
    gold: tuple[str, ...]
    said: tuple[AnswerGroup, ...]
    """The right answers come first, then those of most methods."""


@dataclass(frozen=True, slots=True)
class Examples:
    """The rows of one language."""

    language: str
    found: tuple[tuple[str, tuple[ShownExample, ...]], ...]
    """The reason for their choice, and the rows."""


def worst_examples(results: Results) -> list[Examples]:
    """Return the chosen rows of each language whose texts are in the folder.

    Raises:
        UserError: A file of texts is damaged.
    """
    found: list[Examples] = []
    for language in results.folder.languages:
        texts = RunFiles(results.folder.path).read_examples(language)
        if texts and (chosen := _of_language(results, language, texts)).found:
            found.append(chosen)
    return found


def _of_language(results: Results, language: str, texts: Mapping[str, RowTexts]) -> Examples:
    folder, metric = results.folder, results.metrics[0]
    means = {
        method: np.mean([item_scores(run, metric) for run in runs], axis=0)
        for method in grouped(folder)
        if (runs := folder.of(method, language))
    }
    if not means:
        return Examples(language, ())
    run = next(run for run in folder.runs.values() if run.record.language == language)
    shown = [place for place, id_ in enumerate(run.ids) if id_ in texts]
    every = np.mean(list(means.values()), axis=0)
    pair = [means.get(name or "") for name in (results.subject, results.reference)]
    chosen: dict[str, list[int]] = {}
    if pair[0] is not None and pair[1] is not None and results.subject != results.reference:
        gain = pair[0] - pair[1]
        # among equal gaps, rows that other methods find easier come first: they teach more
        for sign, words in ((-1, "{1} better than {0}"), (1, "{0} better than {1}")):
            places = sorted(
                (p for p in shown if sign * gain[p] > 0), key=lambda p: (-sign * gain[p], -every[p], run.ids[p])
            )
            chosen[words.format(results.subject, results.reference)] = places[: SHOWN // 3]
    taken = {place for places in chosen.values() for place in places}
    hard = sorted((p for p in shown if p not in taken and every[p] < 1), key=lambda p: (every[p], run.ids[p]))
    chosen["Most methods wrong"] = hard[: SHOWN - len(taken)]
    found = tuple(
        (why, tuple(_example(folder, language, place, *texts[run.ids[place]]) for place in places))
        for why, places in chosen.items()
        if places
    )
    return Examples(language, found)


def _example(
    folder: RunFolder, language: str, place: int, texts: tuple[str, ...], source: tuple[str, ...]
) -> ShownExample:
    given: dict[str, dict[str, int]] = {}
    right: dict[str, bool] = {}
    gold: tuple[str, ...] = ()
    id_ = ""
    for method in grouped(folder):
        for run in folder.of(method, language):
            answer, gold, hit = _answer(run.predictions, place, run.record.task["labels"])
            right[answer] = hit
            id_ = run.ids[place]
            given.setdefault(answer, Counter())[method] += 1
    said = [
        AnswerGroup(answer, right[answer], tuple(_who(folder, language, method, n) for method, n in methods.items()))
        for answer, methods in given.items()
    ]
    return ShownExample(
        id_, texts, source, gold, tuple(sorted(said, key=lambda each: (not each.right, -len(each.methods))))
    )


def _answer(predictions: Any, place: int, labels: Sequence[str]) -> tuple[str, tuple[str, ...], bool]:
    """Return an answer in readable form, the gold answers, and whether it is right."""
    if isinstance(predictions, AnswerPredictions):
        gold = tuple(dict.fromkeys(predictions.golds[place]))
        exact: FloatArray = predictions.values["exact_match"]
        return predictions.texts[place] or "(nothing)", gold, bool(exact[place] == 1)
    predicted, truth = int(predictions.predicted[place]), int(predictions.gold[place])
    return str(labels[predicted]) if predicted >= 0 else "(no label)", (str(labels[truth]),), predicted == truth


def _who(folder: RunFolder, language: str, method: str, count: int) -> str:
    total = len(folder.of(method, language))
    return method if count == total else f"{method} ({count} of {total})"
