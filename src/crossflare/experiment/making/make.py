"""One door to making any step."""

from crossflare.experiment.making.models import make_stage1, make_stage2
from crossflare.experiment.making.predictions import make_prediction
from crossflare.experiment.steps.graph import Step, check_ready
from crossflare.experiment.steps.models import Stage1
from crossflare.experiment.steps.prediction import Prediction
from crossflare.heard import collecting
from crossflare.training.loop import distributed


def make(step: Step) -> None:
    """Make one step; under torchrun, all processes train, and the first one does the rest.

    Raises:
        UserError: A step it needs is not done, or the step cannot be made.
    """
    check_ready(step)
    with collecting():
        _make(step)


def _make(step: Step) -> None:
    if isinstance(step, Prediction):
        make_prediction(step)
        return
    distributed.lead(step.id)
    with distributed.together():
        if isinstance(step, Stage1):
            make_stage1(step)
        else:
            make_stage2(step)
