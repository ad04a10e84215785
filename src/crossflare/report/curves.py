"""Learning curves: a drawing for each language, in blocks of few enough methods to tell their lines apart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from crossflare.report import figures
from crossflare.report.methods import grouped
from crossflare.report.results import Results

VALUES = {"dev_score": "dev score, in points", "loss": "training loss"}
TOGETHER = 8
"""Methods whose lines can be told apart in one drawing."""


@dataclass(frozen=True, slots=True)
class Block:
    """The drawings of one measured value for some methods."""

    title: str
    pens: tuple[tuple[str, figures.Pen], ...]
    """The legend."""
    drawings: tuple[figures.Figure, ...]
    first: bool
    """Whether it is shown without being asked for."""


def curve_blocks(results: Results) -> list[Block]:
    """Return the curves of what was measured; the subject and the reference are in every block, for comparison."""
    trained = [name for name in grouped(results.folder) if _curves(results, name)]
    found: list[Block] = []
    for value, title in VALUES.items():
        for number, (name, methods) in enumerate(_parts(results, trained)):
            pens = figures.pens(methods, results.subject)
            key = f"{value}-{number}-"
            if drawings := _drawings(results, value, pens, key):
                words = f"{title}: {name}" if name else title
                found.append(Block(words, tuple(pens.items()), tuple(drawings), not found))
    return found


def _parts(results: Results, trained: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Return the methods of each block with its name: all in one where they are few, else group by group."""
    if len(trained) <= TOGETHER:
        return [("", list(trained))]
    groups = grouped(results.folder)
    always = [name for name in trained if name in (results.reference, results.subject)]
    parts: list[tuple[str, list[str]]] = []
    for heading, names in groupby(trained, groups.__getitem__):
        own = [name for name in names if name not in always]
        room = TOGETHER - len(always)
        pieces = [own[start : start + room] for start in range(0, len(own), room)]
        for number, piece in enumerate(pieces, 1):
            parts.append((f"{heading} ({number})" if len(pieces) > 1 else heading, [*always, *piece]))
    return parts


def _drawings(results: Results, value: str, pens: Mapping[str, figures.Pen], key: str) -> list[figures.Figure]:
    """Return a figure for each language: a line per method (mean over seeds), its seeds behind it."""
    drawn: list[figures.Figure] = []
    for index, language in enumerate(results.folder.languages):
        lines: list[figures.Line] = []
        for method, pen in pens.items():
            seeds = [_curve(run.record.training.get("curve", []), value) for run in results.folder.of(method, language)]
            seeds = [points for points in seeds if points]
            steps = [tuple(points) for points in seeds]
            # a mean over seeds means something only where all of them were measured
            shared = [step for step in (steps[0] if steps else ()) if all(step in points for points in seeds)]
            if len(seeds) > 1:
                lines += [figures.Line(tuple(points), tuple(points.values()), pen, faint=True) for points in seeds]
            mean = tuple(sum(points[step] for points in seeds) / len(seeds) for step in shared)
            lines += [figures.Line(tuple(shared), mean, pen)] if shared else []
        if lines:
            drawn.append(figures.Figure(language, figures.curves(f"{key}{index}", lines, "step", VALUES[value])))
    return drawn


def _curve(points: Sequence[Any], value: str) -> dict[float, float]:
    """Return step -> value, scores in points."""
    scale = 100 if value == "dev_score" else 1
    return {float(point["step"]): scale * float(point[value]) for point in points if point.get(value) is not None}


def _curves(results: Results, method: str) -> bool:
    return any(run.record.training.get("curve") for key, run in results.folder.runs.items() if key[0] == method)
