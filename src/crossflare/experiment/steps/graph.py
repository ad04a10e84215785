"""All steps of an experiment, each after those it needs."""

from collections.abc import Sequence
from dataclasses import dataclass

from crossflare.experiment.steps.context import Context
from crossflare.experiment.steps.prediction import PredictionStep
from crossflare.experiment.steps.step import Step


@dataclass(frozen=True)
class Graph:
    """The steps of one recipe, or of the cells of a grid: built once, and asked by all who share the work."""

    contexts: Sequence[Context]
    """One for each cell, with one shared folder."""
    steps: Sequence[Step]
    """Each once and after those it needs."""
    needs: Sequence[Sequence[int]]
    """For each step the places of those it needs."""


def build_graph(contexts: Sequence[Context]) -> Graph:
    """List every step.

    Alone, a recipe finishes the seeds of a language before the next language begins. In a grid every cell has its
    first seed before any has its second, so that there is soon something to look at everywhere; what cells share is
    made by the first that needs it.
    """
    steps: list[Step] = []
    needs: list[list[int]] = []
    places: dict[tuple[str, Step], int] = {}

    def visit(step: Step) -> int:
        key = (step.context.cell, step)  # steps alone compare equal across recipes
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
