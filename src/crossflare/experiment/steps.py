"""All steps of an experiment, each after those it needs.

A step's id is the content hash of all it depends on, so a file under that id is the step done; nothing else is kept.
"""

from crossflare.errors import UserError
from crossflare.experiment.context import Context
from crossflare.experiment.predictions import Prediction
from crossflare.experiment.stages import Stage1, Stage2

Step = Stage1 | Stage2 | Prediction


def all_steps(context: Context) -> list[Step]:
    """Return every step of the recipe once; the seeds of a language are finished before the next language begins."""
    spec = context.spec
    steps: dict[Step, None] = {}

    def visit(step: Step) -> None:
        for needed in step.needs():
            visit(needed)
        steps.setdefault(step)

    for language in spec.targets:
        for seed in spec.seeds:
            for method in spec.methods:
                if method.languages and language not in method.languages:
                    continue
                visit(Prediction(context, method, language, seed))
    return list(steps)


def check_ready(step: Step) -> None:
    """Raise `UserError` when a step is asked for before those it needs."""
    missing = [needed.label for needed in step.needs() if not needed.done()]
    if missing:
        raise UserError(f"{step.label}: needs {', '.join(missing)} first")
