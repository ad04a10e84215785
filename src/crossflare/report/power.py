"""How small a difference the test sets could have shown: a table against reading too much into a tie."""

from collections.abc import Iterator

import numpy as np

from crossflare.evaluation.metrics import FloatArray
from crossflare.evaluation.paired import detectable
from crossflare.evaluation.predictions import AnswerPredictions
from crossflare.report.results import Results
from crossflare.report.runs import Run
from crossflare.report.tables import DASH, Entry, Grid, metric_name, points


def detectable_grid(results: Results) -> Grid | None:
    """Return per language the test examples, how many the two main methods answer unlike, and what that can show.

    The difference is of accuracy for labels, whatever the main metric, and of the main metric for answers. None where
    the run has no two main methods or they have no run in common.
    """
    subject, reference = results.subject, results.reference
    if subject is None or reference is None or subject == reference:
        return None
    found = dict(_differences(results, (subject, reference)))
    if not found:
        return None
    first = next(iter(results.folder.runs.values()))
    labels = not isinstance(first.predictions, AnswerPredictions)
    rows = [(language, _entries(each)) for language, each in found.items()]
    ids = {next(run.ids for key, run in results.folder.runs.items() if key[1] == language) for language in found}
    if len(found) > 1 and len(ids) == 1:
        joint = np.mean([each.mean(0) for each in found.values()], axis=0, keepdims=True)
        rows.insert(0, ("mean of the languages", _entries(joint, discordant=False)))
    return Grid(
        f"least difference to be found: {'accuracy' if labels else metric_name(results.metrics[0])}",
        ("", "examples", "discordant", "points"),
        tuple(rows),
        f"The true difference of {subject} and {reference} that a paired two-sided test at 5 % over the test examples "
        "finds in 80 of 100 cases, from how often the two were right one without the other (Connor, 1987; the seeds' "
        "models averaged). Finding a smaller one takes luck.",
    )


def _differences(results: Results, pair: tuple[str, str]) -> Iterator[tuple[str, FloatArray]]:
    """Yield each language with the differences [S, N] of the two methods' scores of its examples."""
    for language in results.folder.languages:
        seeds = results.folder.shared_seeds(pair, [language])
        sides = [
            np.stack([item_scores(results.folder.runs[method, language, seed], results.metrics[0]) for seed in seeds])
            for method in pair
            if seeds
        ]
        if sides:
            yield language, sides[0] - sides[1]


def item_scores(run: Run, metric: str) -> FloatArray:
    """Return [N] scores of single examples, 0 to 1: of answers by the metric, of labels 1 for right."""
    if isinstance(run.predictions, AnswerPredictions):
        return run.predictions.values[metric]
    return (run.predictions.predicted == run.predictions.gold).astype(np.float64)


def _entries(differences: FloatArray, *, discordant: bool = True) -> tuple[Entry, ...]:
    least = detectable(differences.mean(0))
    share = f"{(differences != 0).mean():.1%}" if discordant else DASH
    return (
        Entry(f"{differences.shape[1]:,}"),
        Entry(share, empty=not discordant),
        Entry(DASH if least is None else points(least), empty=least is None),
    )
