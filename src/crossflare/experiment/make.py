"""One door to making any step."""

from crossflare.experiment.make_models import make_stage1, make_stage2
from crossflare.experiment.make_predictions import make_prediction
from crossflare.experiment.stages import Stage1, Stage2
from crossflare.experiment.steps import Step, check_ready


def make(step: Step) -> None:
    """Make one step.

    Raises:
        UserError: A step it needs is not done, or the step cannot be made.
    """
    check_ready(step)
    if isinstance(step, Stage1):
        make_stage1(step)
    elif isinstance(step, Stage2):
        make_stage2(step)
    else:
        make_prediction(step)
