"""One door to making any step."""

from crossflare.experiment.make_models import make_stage1, make_stage2
from crossflare.experiment.make_predictions import make_prediction
from crossflare.experiment.predictions import Prediction
from crossflare.experiment.stages import Stage1
from crossflare.experiment.steps import Step, check_ready
from crossflare.heard import collecting
from crossflare.training import distributed


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
