"""All steps of an experiment, each after those it needs, and the folders of a grid's cells.

    runs/NAME/                   models, checkpoints, translations, states: shared; grid.json lists the cells
    runs/NAME/cells/CELL/        spec.yaml, records, predictions, report: the cell's own files

A plain recipe has its one cell in runs/NAME itself.

A step's id is the content hash of all that it depends on. If its files exist, the step is done; no other state is kept.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from crossflare.disk.files import json_text, write_if_new
from crossflare.disk.versions import FORMATS
from crossflare.evaluation.folder import RunFiles
from crossflare.experiment.steps.context import Context
from crossflare.experiment.steps.prediction import PredictionStep
from crossflare.experiment.steps.step import Step
from crossflare.recipe.grid import Recipe
from crossflare.recipe.spec import Spec


@dataclass(frozen=True)
class Graph:
    """The steps of one recipe, or of the cells of a grid, built once."""

    contexts: Sequence[Context]
    """One context for each cell, all with the same shared folder."""
    steps: Sequence[Step]
    """The steps, each once and after those it needs."""
    needs: Sequence[Sequence[int]]
    """For each step, the indices of the steps it needs."""


def build_graph(contexts: Sequence[Context]) -> Graph:
    """Build the graph of every step.

    A plain recipe finishes all seeds of a language before the next language begins. In a grid every cell gets its
    first seed before any gets its second, so that all cells soon have results. Cells share work: the first cell that
    needs a step makes it.
    """
    steps: list[Step] = []
    needs: list[list[int]] = []
    places: dict[tuple[str, Step], int] = {}

    def visit(step: Step) -> int:
        key = (step.context.cell, step)  # without the cell, steps of different recipes would be equal
        if key not in places:
            before = [visit(needed) for needed in step.needs()]
            places[key] = len(steps)
            steps.append(step)
            needs.append(before)
        return places[key]

    rounds = max(len(context.spec.seeds) for context in contexts) if len(contexts) > 1 else 1
    for number in range(rounds):
        for context in contexts:
            spec = context.spec
            for language in spec.targets:
                for seed in spec.seeds[number : number + 1] if rounds > 1 else spec.seeds:
                    for method in spec.methods:
                        if language in spec.languages(method):
                            visit(PredictionStep(context, method, language, seed))
    return Graph(contexts, steps, needs)


def all_steps(*contexts: Context) -> list[Step]:
    """Return the steps of `build_graph`."""
    return list(build_graph(contexts).steps)


def run_folder(recipe: Recipe | Spec, root: Path) -> Path:
    """Return the folder of a recipe's run."""
    return root / recipe.name


def open_cells(cells: Iterable[tuple[Spec, Path]], top: Path) -> list[Context]:
    """Return the contexts of (recipe, folder) pairs; contexts over the same rows read them once.

    Cells that differ only in model, training or seeds have the same rows.
    """
    opened: list[tuple[Spec, Context]] = []
    for spec, folder in cells:
        alike = next((context for other, context in opened if _over_the_same_rows(spec, other)), None)
        opened.append((spec, Context(spec, folder, top, None if alike is None else alike.data)))
    return [context for _, context in opened]


def _over_the_same_rows(one: Spec, other: Spec) -> bool:
    return one == replace(other, model=one.model, stage1=one.stage1, stage2=one.stage2, seeds=one.seeds)


def contexts_of(recipe: Recipe, top: Path) -> list[Context]:
    """Return the contexts of the chosen cells."""
    return open_cells([(cell.spec, RunFiles(top).cell(cell.name).folder) for cell in recipe.chosen], top)


def write_recipes(recipe: Recipe, top: Path) -> None:
    """Write each chosen cell's recipe with all defaults, and the grid of the cells."""
    for cell in recipe.chosen:
        write_if_new(RunFiles(top).cell(cell.name).spec, cell.spec.to_yaml())
    if recipe.axes:
        cells = [{"name": cell.name, "values": list(cell.values.values())} for cell in recipe.cells]
        made = {"format": FORMATS["a grid"], "name": recipe.name, "axes": list(recipe.axes), "cells": cells}
        write_if_new(RunFiles(top).grid, json_text(made))
