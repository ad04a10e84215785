"""All steps of an experiment, each after those it needs.

A step's id is the content hash of all it depends on, so a file under that id is the step done; nothing else is kept.
"""

from crossflare.errors import UserError
from crossflare.experiment.steps.context import Context
from crossflare.experiment.steps.models import Stage1, Stage2
from crossflare.experiment.steps.prediction import Prediction

Step = Stage1 | Stage2 | Prediction


def all_steps(*contexts: Context) -> list[Step]:
    """Return every step of one recipe, or of the cells of a grid, each once and after those it needs.

    Alone, a recipe finishes the seeds of a language before the next language begins. In a grid every cell has its
    first seed before any has its second, so that there is soon something to look at everywhere; what cells share is
    made by the first that needs it.
    """
    steps: dict[tuple[int, Step], Step] = {}

    def visit(step: Step) -> None:
        for needed in step.needs():
            visit(needed)
        steps.setdefault(key_of(step), step)

    rounds = max(len(context.spec.seeds) for context in contexts) if len(contexts) > 1 else 1
    for number in range(rounds):
        for context in contexts:
            spec = context.spec
            for language in spec.targets:
                for seed in spec.seeds[number : number + 1] if rounds > 1 else spec.seeds:
                    for method in spec.methods:
                        if language in spec.languages(method):
                            visit(Prediction(context, method, language, seed))
    return list(steps.values())


def key_of(step: Step) -> tuple[int, Step]:
    """Return what tells a step from those of other cells, too: steps alone compare equal across recipes."""
    return id(step.context), step


def check_ready(step: Step) -> None:
    """Raise `UserError` when a step is asked for before those it needs."""
    missing = [needed.label for needed in step.needs() if not needed.done()]
    if missing:
        raise UserError(f"{step.label}: needs {', '.join(missing)} first")
