"""What makes a recipe's results mean little, seen before it is run: parts of one label, trainings of few steps."""

import math
from collections.abc import Iterator

from crossflare.experiment.data import Data
from crossflare.experiment.spec import Spec, Training
from crossflare.tasks.example import Split
from crossflare.training.settings import few_steps


def cautions(data: Data) -> list[str]:
    """Return a line for each, of the rows that a recipe reads as they are in its set."""
    return list(dict.fromkeys([*_labels(data), *_steps(data)]))


def one_label(split: Split, labels: tuple[str, ...]) -> str | None:
    """Return the label that all rows of a part have; None where they have several, or none."""
    found = {example.label for example in split}
    only = found.pop() if len(found) == 1 and len(labels) > 1 else None
    return None if only is None else labels[only]


def _labels(data: Data) -> Iterator[str]:
    labels = data.task.labels
    for language, part in _parts(data):
        read, whole = data.rows(language, part), data.set.split(language, part)
        only = one_label(read, labels)
        if only is None:
            continue
        limited = len(read) < len(whole) and one_label(whole, labels) is None
        why = f"; task.limit takes the first of {len(whole)} rows, which are sorted: raise it, or shuffle the file"
        said = f"{language} {part}: all {len(read)} rows have the label {only}, so that {_SO[part]}"
        yield said + (why if limited else "")


_SO = {
    "train": "nothing is learnt from them",
    "dev": "they choose nothing",
    "test": "scores there show nothing",
}


def _steps(data: Data) -> Iterator[str]:
    spec = data.spec
    if "train" not in data.set.parts(spec.source):
        return
    trainings = {"stage1": (spec.stage1, spec.source)}
    for method in spec.methods:
        if method.about.trains and method.of is None:
            own = "train" in data.set.parts(spec.targets[0]) and _parallel(spec)
            trainings[method.name] = (spec.training(method), spec.targets[0] if own else spec.source)
    for name, (training, language) in trainings.items():
        if said := few_steps(_count(training, len(data.rows(language, "train")))):
            yield f"{name}: {said}"


def _count(training: Training, rows: int) -> int:
    return math.ceil(training.epochs * math.ceil(rows / training.batch_size))


def _parts(data: Data) -> Iterator[tuple[str, str]]:
    """Yield the languages and parts whose labels are read as the set has them."""
    spec = data.spec
    wanted = [(spec.source, ("train", "dev"))]
    wanted += [(target, ("train", "dev", "test") if _parallel(spec) else ("test",)) for target in spec.targets]
    for language, parts in wanted:
        there = data.set.parts(language)
        yield from ((language, part) for part in parts if part in there)


def _parallel(spec: Spec) -> bool:
    return spec.translation.to_target.engine == "parallel"
