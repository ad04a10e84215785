"""How long what is left will take, by what was measured in the same place. Nothing is guessed for what never ran."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any

from crossflare.errors import UserError
from crossflare.experiment.cells import CELLS
from crossflare.experiment.predictions import Prediction
from crossflare.experiment.stages import Stage1, Stage2
from crossflare.experiment.steps import Step
from crossflare.files import read_json
from crossflare.fusion.adapter_files import CARD

Work = tuple[str, str, int]
"""Model, kind of method, and most tokens of a text."""


@dataclass(frozen=True)
class Speeds:
    """Seconds, as the median of what was measured."""

    per_step: dict[Work, float]
    """Of one optimizer step, by the cards of the models that are there."""
    per_row: dict[Work, float]
    """Of one predicted row, by the records; the translation of test rows is in that of the first to read them."""

    def seconds(self, step: Step) -> float | None:
        """Return the most that a step takes; None: nothing like it has run. Early stopping makes it shorter."""
        work = _work(step)
        if isinstance(step, Prediction):
            each = self.per_row.get(work)
            return None if each is None else each * rows_of(step)
        each = self.per_step.get(work)
        return None if each is None else each * optimizer_steps(step)


def measured(top: Path) -> Speeds:
    """Return the speeds of all that ran in the folder of a run; what cannot be read is passed over."""
    steps, rows = defaultdict[Work, list[float]](list), defaultdict[Work, list[float]](list)
    lengths: dict[str, int] = {}
    for path in sorted(top.glob(f"models/*/{CARD}")):
        card = _read(path)
        try:
            work = (card["model"]["name"], card["kind"], card["max_length"])
            steps[work].append(card["training"]["seconds"] / card["training"]["steps"])
            lengths[path.parent.name] = card["max_length"]
        except (KeyError, TypeError, ZeroDivisionError):
            continue
    for place in ("records", f"{CELLS}/*/records", "parts", f"{CELLS}/*/parts"):
        for path in sorted(top.glob(f"{place}/*.json")):
            record = _read(path)
            try:
                model = record["model"]
                work = (model["name"], record["method"]["kind"], lengths[model["id"]])
                rows[work].append(record["timings"]["predict"] / record["data"]["n_test"])
            except (KeyError, TypeError, ZeroDivisionError):
                continue
    return Speeds({work: median(found) for work, found in steps.items()}, {w: median(f) for w, f in rows.items()})


def unknown(steps: Iterable[Step]) -> list[str]:
    """Return what the steps are whose time nothing tells of: kind of step, of method, and model, each once."""
    found: dict[str, None] = {}
    for step in steps:
        model, kind, _ = _work(step)
        what = step.kind if isinstance(step, Stage1) else f"{step.kind} of {kind}"
        found[f"{what} on {Path(model).name}"] = None
    return list(found)


def _work(step: Step) -> Work:
    spec = step.context.spec
    kind = "stage1" if isinstance(step, Stage1) else step.method.kind
    training = spec.stage2 if isinstance(step, Prediction) else step.training
    return spec.model.name, kind, training.max_length


def optimizer_steps(step: Stage1 | Stage2) -> int:
    """Return how many there are at most: of translations some may be left out."""
    languages = 1 if isinstance(step, Stage1) else step.language.count("+") + 1
    rows = len(step.context.data.source_task("train")) * languages
    return step.training.epochs * ceil(rows / step.training.batch_size)


def rows_of(step: Prediction) -> int:
    """Return how many rows it reads."""
    data = step.context.data
    return len(data.test(step.language, "none") if step.split == "test" else data.source_task("dev"))


def _read(path: Path) -> Any:
    try:
        return read_json(path)
    except UserError:
        return None
