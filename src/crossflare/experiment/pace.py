"""How long the rest of a run will take, by the steps that it has made: what the line after each step says.

`estimate` is stricter and reads every card; here a kind of step that never ran takes the pace of its like.
"""

from collections import defaultdict
from collections.abc import Iterable
from statistics import median

from crossflare.experiment.estimate import optimizer_steps, rows_of
from crossflare.experiment.predictions import Prediction
from crossflare.experiment.stages import Stage1
from crossflare.experiment.steps import Step

Key = tuple[str, ...]


class Pace:
    """Seconds for each optimizer step, or for each predicted row, of the steps that were made."""

    def __init__(self) -> None:
        self._seconds = defaultdict[Key, list[float]](list)

    def add(self, step: Step, seconds: float) -> None:
        """Learn from a step that was made."""
        for key in _keys(step):
            self._seconds[key].append(seconds / max(1, _size(step)))

    def left(self, steps: Iterable[Step], workers: int) -> float | None:
        """Return seconds for these steps, made by so many workers; None while nothing like one of them has run."""
        total = 0.0
        for step in steps:
            known = next((found for key in _keys(step) if (found := self._seconds.get(key))), None)
            if known is None:
                return None
            total += median(known) * _size(step)
        return total / workers


def _keys(step: Step) -> tuple[Key, ...]:
    """Return what a step is like: the most alike first."""
    model = step.context.spec.model.name
    kind = "stage 1" if isinstance(step, Stage1) else step.method.kind
    sort = "predict" if isinstance(step, Prediction) else "train"
    return (sort, kind, model), (sort, model)


def _size(step: Step) -> int:
    return rows_of(step) if isinstance(step, Prediction) else optimizer_steps(step)
