"""A run under torchrun: the first process makes the steps, and the others help it in those that train."""

import logging
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from crossflare.errors import UserError
from crossflare.experiment.board import id_of
from crossflare.experiment.cells import contexts_of
from crossflare.experiment.grid import Recipe
from crossflare.experiment.make import make
from crossflare.experiment.steps import Step, all_steps
from crossflare.training import distributed

_log = logging.getLogger(__name__)


@contextmanager
def with_helpers(recipe: Recipe, top: Path) -> Generator[None]:
    """Have the others help while the first process works inside, and let them go however that ends.

    Only the first process comes inside: the others end here, with exit code 0.
    """
    distributed.start()
    if not distributed.is_main():
        _help(recipe, top)
        raise SystemExit(0)
    try:
        yield
    finally:
        with suppress(distributed.LostError):  # who is gone needs no leave
            distributed.lead(None)
        distributed.stop()


def _help(recipe: Recipe, top: Path) -> None:
    steps: list[Step] = []
    while (wanted := distributed.follow()) is not None:
        steps = steps or all_steps(*contexts_of(recipe, top))
        try:
            make(next(step for step in steps if id_of(step) == wanted))
        except UserError:
            pass  # the first process has heard of it, and marks the step
        except Exception:
            _log.exception("process %d failed", distributed.rank())
