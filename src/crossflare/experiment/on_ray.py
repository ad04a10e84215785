"""Workers on the nodes of a Ray cluster, which share a folder: the same loop under the same locks as anywhere else."""

import logging
import os
from typing import Any

from crossflare import devices
from crossflare.errors import UserError
from crossflare.experiment.board import Board
from crossflare.experiment.news import News
from crossflare.experiment.work import WAIT, Order
from crossflare.progress import bar
from crossflare.translation.workers import connect

REPLACED = 3
"""Times that a worker which disappears is replaced."""
_TOLD = ("CROSSFLARE_", "HF_", "TRANSFORMERS_")
"""What a variable of the environment starts with that workers must have as this process has it."""
_log = logging.getLogger(__name__)


def on_ray(order: Order, board: Board, address: str, workers: int | None) -> None:
    """Let the workers of a cluster make the steps; this process shows how far they are.

    Args:
        order: What to make.
        board: The same, to look at.
        address: Of the cluster (`auto`: the one of this machine), or `local`: one on this machine alone.
        workers: How many; None: one for each GPU, or for each CPU where there is none.

    Raises:
        UserError: There is no such cluster, the folder is not shared, or workers went away more often than they are
            replaced.
    """
    ray: Any = connect(address)
    room: dict[str, float] = ray.cluster_resources()
    cards = int(room.get("GPU", 0)) if devices.asked() in (None, "cuda") else 0
    needs = {"num_gpus": 1} if cards else {"num_cpus": 1}
    count = min(workers or cards or int(room.get("CPU", 1)), len(board.steps))
    # The loop itself is what is taken up again: a task that Ray repeated by itself would do so without a word.
    task: Any = ray.remote(max_retries=0, scheduling_strategy="SPREAD", **needs)(_worker)
    told = {name: value for name, value in os.environ.items() if name.startswith(_TOLD)}
    running: dict[Any, int] = {task.remote(order, told): number for number in range(1, count + 1)}
    left = dict.fromkeys(running.values(), REPLACED)
    try:
        with bar("steps", len(board.steps)) as advance:
            news = News(board, advance, count)
            while running:
                ended, _ = ray.wait(list(running), num_returns=1, timeout=WAIT)
                for each in ended:
                    number = running.pop(each)
                    if _went_away(ray, each) and _replace(number, left):
                        running[task.remote(order, told)] = number
                news.look()
                if board.over:
                    break  # a worker may still wait for a place on a node
            news.last()
    finally:
        for each in running:
            ray.cancel(each, force=True)
    if not board.over:
        raise UserError(
            "all workers of the cluster went away, and none is replaced any more; what is finished is kept: look at "
            "the memory of the nodes and run again"
        )


def _went_away(ray: Any, task: Any) -> bool:
    """Whether a task ended by losing its process or its node; what it raised itself is raised here."""
    from ray.exceptions import RayError, RayTaskError

    try:
        ray.get(task)
    except RayTaskError as error:
        raise error.cause from error
    except RayError as error:
        _log.warning("%s", f"a worker disappeared ({type(error).__name__})")
        return True
    return False


def _replace(number: int, left: dict[int, int]) -> bool:
    """Say whether a new worker takes the place of one that disappeared."""
    if left[number] == 0:
        _log.warning("worker %d disappeared %d times and is not replaced any more", number, REPLACED + 1)
        return False
    left[number] -= 1
    _log.warning("worker %d is replaced (%d of %d times)", number, REPLACED - left[number], REPLACED)
    return True


def _worker(order: Order, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    order.carry_out()
