"""Making a step of any kind."""

from collections.abc import Callable
from typing import Any

from crossflare.experiment.making.models import make_full, make_stage1, make_stage2
from crossflare.experiment.making.predictions import make_prediction
from crossflare.experiment.making.probes import make_probe
from crossflare.experiment.steps.models import Stage1, Stage2
from crossflare.experiment.steps.prediction import PredictionStep
from crossflare.experiment.steps.step import Step, check_ready
from crossflare.libraries.heard import collecting
from crossflare.recipe.kinds import Learns
from crossflare.training.loop import distributed
from crossflare.training.loop.curves import Watched, watching

_LEARN: dict[Learns, Callable[[Stage2], None]] = {"adapter": make_stage2, "probe": make_probe, "model": make_full}


def _make_stage2(step: Stage2) -> None:
    _LEARN[step.about.learns](step)


_MAKERS: dict[str, Callable[[Any], None]] = {
    Stage1.kind: make_stage1,
    Stage2.kind: _make_stage2,
    PredictionStep.kind: make_prediction,
}


def make(step: Step) -> None:
    """Make one step; under torchrun, all processes train, and the first one does everything else.

    Raises:
        UserError: A step that it needs is not done, or the step cannot be made.
    """
    check_ready(step)
    run = _MAKERS[step.kind]
    with collecting():
        if not step.trains:
            run(step)
            return
        distributed.lead(step.id)
        with distributed.together(), watching(_watched(step)):
            run(step)


def _watched(step: Step) -> Watched:
    context = step.context
    run = f"{step.label} {step.id[:8]}"
    return Watched(context.spec.track, context.spec.name, run, step.id, context.shared / "curves")
