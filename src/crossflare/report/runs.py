"""Read a run folder: its records, its predictions and its recipe, checked against one another."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from crossflare.errors import UserError
from crossflare.evaluation.answers import exact_match, f1, normaliser
from crossflare.evaluation.folder import CELLS, RunFiles
from crossflare.evaluation.metrics import METRICS, FloatArray, score
from crossflare.evaluation.predictions import AnswerPredictions, Predictions
from crossflare.evaluation.record import Record

MACRO = "macro"
"""The name of the mean over all languages, where a language is expected."""
Key = tuple[str, str, int]
"""Method, language, seed."""


@dataclass(frozen=True, slots=True)
class Run:
    """One record with its predictions, ordered by id."""

    path: Path
    record: Record
    predictions: Predictions | AnswerPredictions

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the test examples."""
        return self.predictions.ids


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The contents of a run folder, and what its recipe asks for."""

    path: Path
    name: str
    recipe: str
    """The text of `spec.yaml`; empty when there is none."""
    spec: Mapping[str, Any]
    runs: Mapping[Key, Run]
    methods: tuple[str, ...]
    languages: tuple[str, ...]
    seeds: tuple[int, ...]

    def of(self, method: str, language: str) -> list[Run]:
        """Return the runs of a method in a language, by seed."""
        return [self.runs[method, language, seed] for seed in self.seeds if (method, language, seed) in self.runs]

    def shared_seeds(self, methods: Iterable[str], languages: Iterable[str]) -> tuple[int, ...]:
        """Return the seeds with which all these methods were run in all these languages."""
        places = [(method, language) for method in methods for language in languages]
        return tuple(seed for seed in self.seeds if all((*place, seed) in self.runs for place in places))

    def options(self, method: str) -> Mapping[str, Any]:
        """Return the options of a method in the recipe; empty where the recipe does not list it."""
        return _mapping(_mapping(self.spec.get("methods")).get(method))

    @property
    def columns(self) -> tuple[str, ...]:
        """The languages; if there are several, their mean comes first, where a telephone shows it."""
        return (MACRO, *self.languages) if len(self.languages) > 1 else self.languages

    def asked(self, method: str, column: str) -> bool:
        """Whether the recipe has the method run in a language; for the mean, in every language."""
        only = _listed(self.options(method), "languages")
        return not only or all(each in only for each in (self.languages if column == MACRO else (column,)))

    @property
    def missing(self) -> list[Key]:
        """The runs without a record that the recipe asks for, or that other runs suggest."""
        keys = [(m, x, s) for m in self.methods for x in self.languages if self.asked(m, x) for s in self.seeds]
        return [key for key in keys if key not in self.runs]


def read_runs(folder: Path) -> RunFolder:
    """Read and check a run folder.

    Raises:
        UserError: The folder holds no record, a file is damaged, two records claim the same place, records are of
            different tasks, or a record disagrees with its predictions.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: expected a run folder, found none; check the path")
    files = RunFiles(folder)
    if not files.records:
        raise UserError(f"{folder}: expected finished runs in records/, found none; run the recipe first")
    if not files.all_predictions.is_dir():
        raise UserError(
            f"{folder}: its predictions were not kept, so that no table can be made again; read its report.md, or run "
            "its recipe anew"
        )
    runs: dict[Key, Run] = {}
    rows: dict[Path, Any] = {}
    for path in files.records:
        record, found = files.read_result(path, rows)
        recount(path, record, found)
        run = Run(path, record, found.take(sorted(range(len(found.ids)), key=found.ids.__getitem__)))
        key = (str(run.record.method["name"]), run.record.language, run.record.seed)
        if key in runs:
            twins = f"{runs[key].path.name} and {path.name}"
            raise UserError(f"{folder}: {twins} are both {_place(key)}; delete the one of the older recipe")
        runs[key] = run
    _check_same_task(list(runs.values()))
    recipe, spec = files.read_recipe()
    return RunFolder(
        path=folder,
        name=str(spec.get("name") or next(iter(runs.values())).record.spec_name) + _cell(folder),
        recipe=recipe,
        spec=spec,
        runs=runs,
        methods=_order(_listed(spec, "methods"), (key[0] for key in runs)),
        languages=_order(_listed(spec, "targets"), (key[1] for key in runs)),
        seeds=tuple(sorted({*map(int, _listed(spec, "seeds")), *(key[2] for key in runs)})),
    )


def _cell(folder: Path) -> str:
    """Return the name of the grid's cell that a folder holds; empty for a plain recipe."""
    place = folder.resolve()
    return f": {place.name}" if place.parent.name == CELLS else ""


def align(runs: Sequence[Run]) -> None:
    """Check that runs are over the same examples.

    Raises:
        UserError: Two runs were scored on different examples.
    """
    first = runs[0]
    for other in runs[1:]:
        if other.ids != first.ids or _gold(other.predictions) != _gold(first.predictions):
            raise UserError(
                f"{first.path} and {other.path}: expected the same test examples, got {len(first.ids)} and "
                f"{len(other.ids)} that differ; delete the older record and run again"
            )


def _gold(predictions: Predictions | AnswerPredictions) -> Sequence[Any]:
    return predictions.golds if isinstance(predictions, AnswerPredictions) else predictions.gold.tolist()


def _check_same_task(runs: Sequence[Run]) -> None:
    first = runs[0]
    for other in runs[1:]:
        if other.record.task != first.record.task:
            pair = f"{first.path.name} and {other.path.name}"
            raise UserError(
                f"{pair}: expected records of one task, got two tasks or versions; keep one run folder for each"
            )


def _mapping(value: Any) -> Mapping[str, Any]:
    """Return a mapping as it is, and an empty one for anything else: users edit recipes by hand."""
    return value if isinstance(value, Mapping) else {}


def _listed(spec: Mapping[str, Any], key: str) -> list[str]:
    """Return the names under `key`: the items of a list, or the keys of a mapping."""
    value = spec.get(key)
    return [str(name) for name in value] if isinstance(value, list | Mapping) else []


def _order(listed: Iterable[str], found: Iterable[str]) -> tuple[str, ...]:
    """Return the names that the recipe lists, in its order, then those that only the records have."""
    return tuple(dict.fromkeys([*listed, *sorted(set(found))]))


def _place(key: Key) -> str:
    return f"{key[0]} in {key[1]} with seed {key[2]}"


TOLERANCE = 1e-6
"""The most that scores may differ: those of single examples are on disk with six decimals."""


def recount(path: Path, record: Record, found: Predictions | AnswerPredictions) -> None:
    """Compute the scores of a record again from its predictions.

    Labels and texts are compared again; only `position_match` is taken from the predictions, which hold no positions.

    Args:
        path: The record's file, for messages.
        record: The record.
        found: Its predictions.

    Raises:
        UserError: Record and predictions disagree, or are of different tasks.
    """
    classes = len(record.task["labels"])
    if isinstance(found, AnswerPredictions) == bool(classes):
        wanted, got = ("labels", "answers") if classes else ("answers", "labels")
        raise UserError(f"{path}: expected predictions of {wanted} for this task, got {got}; delete it and run again")
    if isinstance(found, AnswerPredictions):
        _check_answers(path, record, found)
        given = {name: float(column.mean()) for name, column in found.values.items()}
    else:
        known = (name for name in record.scores if name in METRICS)
        given = {name: score(name, found.gold, found.predicted, classes, record.labels) for name in known}
    for metric, said in record.scores.items():
        if metric in given and abs(given[metric] - said) > TOLERANCE:
            raise UserError(
                f"{path}: says {metric} {said:.4f}, its predictions give {given[metric]:.4f}; delete it and run again"
            )


def _check_answers(path: Path, record: Record, found: AnswerPredictions) -> None:
    """Check the scores of every question against its texts."""
    style = record.task.get("normalisation")
    if not isinstance(style, str):
        raise UserError(f"{path}: expected task.normalisation, the rules of comparing answers; delete it and run again")
    same = cache(normaliser(style, record.language))  # each text occurs twice, and many answers are equal
    pairs = list(zip(found.texts, found.golds, strict=True))
    anew: dict[str, FloatArray] = {
        "exact_match": np.array([exact_match(text, golds, same) for text, golds in pairs]),
        "f1": np.array([f1(text, golds, same) for text, golds in pairs]),
    }
    for metric, values in anew.items():
        wrong = np.flatnonzero(abs(values - found.values[metric]) > TOLERANCE)
        if wrong.size:
            row = int(wrong[0])
            raise UserError(
                f"{path}: its predictions say {metric} {found.values[metric][row]:.4f} of '{found.ids[row]}', the "
                f"texts give {values[row]:.4f}; delete it and run again"
            )
