"""What makes a recipe's results mean little, seen before it is run: parts of one label, trainings of few steps."""

import math
from collections.abc import Iterator

from crossflare.experiment.data.rows import Data
from crossflare.recipe.spec import Training
from crossflare.training.loop.settings import few_steps


def cautions(data: Data) -> list[str]:
    """Return a line for each, of the rows that a recipe reads as they are in its set."""
    return list(dict.fromkeys([*_unanswered(data), *_labels(data), *_steps(data)]))


def _labels(data: Data) -> Iterator[str]:
    for (language, part), known in data.check().items():
        if known.label is None:
            continue
        why = f"; task.limit takes the first of {known.rows} rows, which are sorted: raise it, or shuffle the file"
        said = f"{language} {part}: all {known.used} rows have the label {known.label}, so that {_SO[part]}"
        yield said + (why if known.mixed else "")


def _unanswered(data: Data) -> Iterator[str]:
    for (language, part), known in data.check().items():
        if known.left_out:
            of = f"{known.left_out} of {known.left_out + known.rows} questions"
            why = "only answers that stand in the context are learnt and scored"
            yield f"{language} {part}: {of} have no answer and are left out: {why}"


_SO = {
    "train": "nothing is learnt from them",
    "dev": "they choose nothing",
    "test": "scores there show nothing",
}


def _steps(data: Data) -> Iterator[str]:
    spec, parts = data.spec, data.check()
    trainings = {"stage1": (spec.stage1, spec.source)}
    for method in spec.methods:
        if method.about.trains and method.of is None:
            own = (spec.targets[0], "train") in parts
            trainings[method.name] = (spec.training(method), spec.targets[0] if own else spec.source)
    for name, (training, language) in trainings.items():
        if (language, "train") in parts and (said := few_steps(_count(training, parts[language, "train"].used))):
            yield f"{name}: {said}"


def _count(training: Training, rows: int) -> int:
    return math.ceil(training.epochs * math.ceil(math.ceil(rows / training.batch_size) / training.accumulation))
