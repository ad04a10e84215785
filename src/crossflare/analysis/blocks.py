"""Which blocks' fusion matters: fusion is switched off in one block after the other, and the test rows scored."""

from collections.abc import Sequence
from dataclasses import dataclass

from crossflare.analysis.opening import Adapter
from crossflare.analysis.watching import Layer, fusing_layers, replaced, silent
from crossflare.errors import UserError
from crossflare.evaluation.outputs import ChoiceOutputs, Outputs
from crossflare.evaluation.scoring import scoring
from crossflare.evaluation.significance import Difference, Sample, paired_difference, sample, sample_values

ALL = "all blocks"


@dataclass(frozen=True)
class Drop:
    """What is lost when fusion is off in some place."""

    place: str
    score: float
    """The main metric without it, 0 to 1."""
    drop: Difference
    """The full adapter's score less this one, with its interval over the paired test rows."""


@dataclass(frozen=True)
class Drops:
    """What each block's fusion is worth."""

    metric: str
    score: float
    """Of the whole adapter, 0 to 1."""
    parts: tuple[Drop, ...]
    """Block by block, then all of them at once."""


def drops(adapter: Adapter) -> Drops:
    """Switch fusion off block by block: every token there takes phi's target-only value.

    Raises:
        UserError: There are no test rows to score.
    """
    if not len(adapter.split):
        raise UserError(f"{adapter.step.label}: expected test rows to score, got none")
    layers = fusing_layers(adapter.model)
    places: dict[tuple[str, int], list[Layer]] = {}
    for layer in layers:
        places.setdefault(layer.block, []).append(layer)
    metric = adapter.step.context.data.task.main_metric
    full = _sample(adapter, adapter.predict(), metric)
    named = [*zip(_names(list(places)), places.values(), strict=True), (ALL, layers)]
    parts: list[Drop] = []
    for place, some in named:
        with replaced(some, silent):
            without = _sample(adapter, adapter.predict(), metric)
        parts.append(Drop(place, float(without.observed[0]), paired_difference(full, without)))
    return Drops(metric, float(full.observed[0]), tuple(parts))


def _names(places: Sequence[tuple[str, int]]) -> list[str]:
    """Return what blocks are called: by number, with their stack where there are two."""
    several = len({stack for stack, _ in places}) > 1
    kinds = {stack: "decoder " if "decoder" in stack else "encoder " for stack, _ in places}
    return [f"{kinds[stack] if several else 'block '}{block}" for stack, block in places]


def _sample(adapter: Adapter, outputs: Outputs, metric: str) -> Sample:
    task, examples = adapter.step.context.data.task, adapter.split.examples
    ids, seeds = [example.id for example in examples], (adapter.step.seed,)
    rows = scoring(task, adapter.step.language).rows(examples, outputs)
    gold = [row["gold"] for row in rows]
    if isinstance(outputs, ChoiceOutputs):
        return sample(ids, gold, [[row["prediction"] for row in rows]], len(task.labels), seeds)[metric]
    return sample_values(ids, gold, {metric: [[row[metric] for row in rows]]}, seeds)[metric]
