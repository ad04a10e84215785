"""Workers: processes of this machine, one for each GPU where there are several, or nodes of a Ray cluster."""

import logging
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures import wait as finished
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from threading import Thread
from typing import Any

from crossflare import devices
from crossflare.errors import UserError
from crossflare.experiment.running.board import Board
from crossflare.experiment.running.news import News
from crossflare.experiment.running.worker import WAIT, Order
from crossflare.heard import listening
from crossflare.progress import bar, relay_to_display, send_to
from crossflare.translation.workers import connect

LOOK = 2.0
"""Seconds between two looks at how far the workers are: a look opens files for every step that is missing."""
GRACE = 60.0
"""Seconds that a worker has to save a checkpoint."""
VISIBLE = "CUDA_VISIBLE_DEVICES"


def share(order: Order, board: Board, workers: int) -> None:
    """Let several processes make the steps; this one shows how far they are.

    Raises:
        UserError: A worker was killed, or could not write.
    """
    with relay_to_display(workers) as senders:
        _share(order, board, workers, senders)


def _share(order: Order, board: Board, workers: int, senders: Sequence[Connection]) -> None:
    spawn = get_context("spawn")
    gone, alive = spawn.Pipe(duplex=False)  # closed by whatever ends this process: the others notice, and end too
    numbers = spawn.SimpleQueue()
    for number in range(workers):
        numbers.put(number)
    given = (gone, numbers, gpus(), senders)
    pool = ProcessPoolExecutor(workers, mp_context=spawn, initializer=_begin, initargs=given)
    try:
        futures = [pool.submit(_worker, order, workers) for _ in range(workers)]
        with bar("steps", len(board.steps)) as advance:
            news = News(board, advance, workers)
            while finished(futures, timeout=LOOK).not_done:
                news.refresh()
            for future in futures:
                future.result()
            news.last()
        pool.shutdown()  # their work is done: let them leave in order
    except BrokenProcessPool as error:
        raise UserError(
            "a worker was killed, most often for want of memory; what is finished is kept: run again with fewer workers"
        ) from error
    finally:
        alive.close()
        pool.shutdown(wait=False, cancel_futures=True)


def default_workers() -> int:
    """Return one for each GPU, or one per core, at most 4, where there is none."""
    if devices.best_device().type not in ("cuda", "cpu"):
        return 1  # one GPU, whose memory they would share
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
    """Return what a worker's environment says of GPUs: one is its own, in turn; nothing where there is no choice."""
    return {VISIBLE: cards[worker % len(cards)]} if len(cards) > 1 else {}


def _begin(gone: Connection, numbers: Any, cards: Sequence[str], senders: Sequence[Connection]) -> None:
    """Take a GPU, before anything looks for one, tell of progress, and end with the process that started this one.

    Training saves a checkpoint first. Ctrl-C at a terminal goes to all processes of a group; the workers leave it, so
    that one signal reaches them once.
    """
    number: int = numbers.get()
    os.environ.update(device_of(number, cards))
    if senders:
        send_to(senders[number])
    if sys.platform != "win32":  # Windows has no groups of this kind
        os.setpgrp()

    def watch() -> None:
        wait([gone])
        while True:
            if sys.platform == "win32":  # os.kill would end the process there and then
                signal.raise_signal(signal.SIGTERM)
            else:
                os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(GRACE)

    Thread(target=watch, daemon=True).start()


def _say(line: str) -> None:
    """Print what a user should know, as the process does that started this one."""
    print(f"note: {line}", file=sys.stderr, flush=True)


def _worker(order: Order, workers: int) -> None:
    import torch

    torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))
    try:
        with listening(_say):
            order.carry_out()
    except SystemExit:  # of `_begin`; the pool would catch it, and wait for more work from a process that is gone
        os._exit(128 + signal.SIGTERM)


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
    task: Any = ray.remote(max_retries=0, scheduling_strategy="SPREAD", **needs)(_ray_worker)
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
                news.refresh()
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


def _ray_worker(order: Order, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    order.carry_out()
