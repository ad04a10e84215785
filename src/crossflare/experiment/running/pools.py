"""Workers that make steps: processes on this machine, one for each GPU if there are several, or a cluster's nodes."""

import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from functools import partial
from itertools import takewhile
from multiprocessing.connection import Connection
from typing import Any

from crossflare import devices
from crossflare.errors import UserError
from crossflare.experiment.running.board import Board
from crossflare.experiment.running.news import News
from crossflare.experiment.running.worker import WAIT, Order
from crossflare.jobs import Cluster, GivenUpError, Processes, connect
from crossflare.libraries.heard import listening
from crossflare.progress import bar, relay_to_display, send_to

LOOK = 2.0
"""The seconds between two looks at the workers' progress: a look opens files for every missing step."""
VISIBLE = "CUDA_VISIBLE_DEVICES"
_TOLD = ("CROSSFLARE_", "HF_", "TRANSFORMERS_")
"""The prefixes of environment variables that workers must get from this process."""


def share(order: Order, board: Board, workers: int) -> None:
    """Let several processes make the steps; this one shows the progress.

    Raises:
        UserError: A worker was killed, or cannot write.
    """
    with relay_to_display(workers) as senders:
        pool = Processes(workers, partial(_begin, gpus(), senders))
        try:
            _follow(pool.run(_worker, [(order, workers)] * workers, again=0, look=LOOK), board, workers)
        except GivenUpError as error:
            raise UserError(
                "a worker was killed, most often for want of memory; what is finished is kept: run again with fewer "
                "workers"
            ) from error


def on_ray(order: Order, board: Board, address: str, workers: int | None) -> None:
    """Let the workers of a cluster make the steps; this process shows the progress.

    Args:
        order: The work to do.
        board: The same work, for its state.
        address: See `connect`.
        workers: The number of workers; None: one for each GPU, or for each CPU if there is no GPU.

    Raises:
        UserError: There is no such cluster, the folder is not shared, or all workers were given up.
    """
    room: dict[str, float] = connect(address).cluster_resources()
    cards = int(room.get("GPU", 0)) if devices.asked() in (None, "cuda") else 0
    count = min(workers or cards or int(room.get("CPU", 1)), len(board.steps))
    pool = Cluster(count, address, {"num_gpus": 1} if cards else {"num_cpus": 1})
    told = {name: value for name, value in os.environ.items() if name.startswith(_TOLD)}
    with closing(pool.run(_ray_worker, [(order, told)] * count, look=WAIT)) as done, suppress(GivenUpError):
        # When all steps are made, a worker may still wait for a place on a node.
        _follow(takewhile(lambda _: not board.over, done), board, count)
    board.refresh()
    if not board.over:
        raise UserError(
            "all workers of the cluster went away, and none is replaced any more; what is finished is kept: look at "
            "the memory of the nodes and run again"
        )


def _follow(done: Iterator[object], board: Board, workers: int) -> None:
    """Show the workers' progress until they are done."""
    with bar("steps", len(board.steps)) as advance:
        news = News(board, advance, workers)
        for _ in done:
            news.refresh()
        news.last()


def default_workers() -> int:
    """Return one worker per GPU or, without a GPU, one per core, at most 4."""
    if devices.best_device().type not in ("cuda", "cpu"):
        return 1  # one GPU, whose memory several workers would share
    return len(gpus()) or min(4, os.cpu_count() or 1)


def gpus() -> tuple[str, ...]:
    """Return the names of the GPUs that this process may use, as CUDA_VISIBLE_DEVICES gives them."""
    import torch

    if devices.best_device().type != "cuda":
        return ()
    count = torch.cuda.device_count()
    given = [name.strip() for name in os.environ.get(VISIBLE, "").split(",") if name.strip()]
    return tuple(given[:count] if given else map(str, range(count)))


def device_of(worker: int, cards: Sequence[str]) -> Mapping[str, str]:
    """Return a worker's environment variable for its GPU, given in turn; empty if there is at most one GPU."""
    return {VISIBLE: cards[worker % len(cards)]} if len(cards) > 1 else {}


def _begin(cards: Sequence[str], senders: Sequence[Connection], number: int) -> None:
    """Take a GPU before anything uses one, and send progress."""
    os.environ.update(device_of(number, cards))
    if senders:
        send_to(senders[number])


def _say(line: str) -> None:
    """Print a note for the user, in the form of the process that started this one."""
    print(f"note: {line}", file=sys.stderr, flush=True)


def _worker(given: tuple[Order, int]) -> None:
    import torch

    order, workers = given
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))
    try:
        with listening(_say):
            order.carry_out()
    except SystemExit:  # on SIGTERM; the pool would catch it, and wait for a process that is gone
        os._exit(128 + signal.SIGTERM)


def _ray_worker(given: tuple[Order, dict[str, Any]]) -> None:
    order, environment = given
    os.environ.update(environment)
    order.carry_out()
