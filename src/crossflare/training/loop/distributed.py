"""One training run shared by several processes, which torchrun or `accelerate launch` started, on one or more machines.

Each process sees one device and works as if it were alone: no library sees the launcher's variables, and nothing wraps
the model. Only this module exchanges data between the processes: the sum of the gradients, and words. With words the
first process says what to do, and any process says what went wrong.

    rank    from 0; 0 is the first process, which alone translates, scores, predicts and writes
    meet    each process gives a word and gets the words of all; if one has failed, all raise

An error on one process becomes an error on all at their next meeting, so that none keeps waiting. When a process dies
without a word, the others notice its closed connection, or that `PROMPT` has passed, and end.
"""

import json
import os
import re
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, distributed
from transformers import set_seed

from crossflare import devices
from crossflare.errors import UserError

T = TypeVar("T")
PROMPT = timedelta(minutes=10)
"""How long a process in training waits for the others."""
PATIENT = timedelta(days=30)
"""How long the other processes wait for work that the first one does alone."""
ROOM = 4096
"""The most bytes of a word, as JSON."""
LAUNCHER = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")


class LostError(SystemExit):
    """Another process of the run is gone; this one cannot go on or try the next step, and ends with one line."""


class ToldError(UserError):
    """Another process failed at the shared work and said why; the next piece of work may succeed."""


@dataclass(slots=True)
class _Group:
    rank: int
    size: int
    words: Any
    """The process group for words, on the CPU; gradients use the default group."""
    together: bool = field(default=False)
    """Whether all processes do the same piece of work."""


_group: _Group | None = None


def launched() -> int:
    """Return how many processes a launcher started, including this one; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1")) if _group is None else _group.size


def check_joined() -> None:
    """Refuse to train in one of several processes if each would train a model of its own.

    Raises:
        UserError: A launcher started several processes, and `start` was not called.
    """
    if _group is None and launched() > 1:
        raise UserError(
            f"this process is one of {launched()} that do not know of each other; start them by `torchrun -m "
            "crossflare run`, or call crossflare.training.loop.distributed.start() first"
        )


def start() -> None:
    """Join the others if a launcher started several processes; call this before anything uses a GPU.

    Raises:
        UserError: There are more processes on this machine than GPUs.
    """
    global _group
    if _group is not None or launched() == 1:
        return
    rank, size, local = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    on_gpus = devices.best_device().type == "cuda"
    if on_gpus:
        _take_gpu(local)
    distributed.init_process_group("nccl" if on_gpus else "gloo", timeout=PROMPT)
    _group = _Group(rank, size, distributed.new_group(backend="gloo", timeout=PATIENT))
    for name in LAUNCHER:  # a library that reads them too, as accelerate does, would split the work again
        os.environ.pop(name, None)


def _take_gpu(local: int) -> None:
    """Make one GPU visible to this process, so that `cuda` means its own."""
    assert not torch.cuda.is_initialized(), "start() comes before the first use of a GPU"
    count = torch.cuda.device_count()
    if local >= count:
        raise UserError(f"process {local} of this machine has no GPU: expected at most {count} processes, one per GPU")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    os.environ["CUDA_VISIBLE_DEVICES"] = visible[local] if len(visible) == count else str(local)


def stop() -> None:
    """Leave the others: from now on this process is alone."""
    global _group
    _group = None


def is_main() -> bool:
    """Return whether this process is the first one, which alone writes files and messages."""
    return rank() == 0


def rank() -> int:
    """Return the number of this process, from 0."""
    return int(os.environ.get("RANK", "0")) if _group is None else _group.rank


def size() -> int:
    """Return how many processes share the current piece of work: 1 outside of `together`."""
    return _group.size if _group is not None and _group.together else 1


@contextmanager
def together() -> Generator[None]:
    """Do a piece of work on all processes: if it fails on one, it fails on all.

    Raises:
        ToldError: Another process failed.
        LostError: Another process is gone.
    """
    if _group is None:
        yield
        return
    _group.together = True
    try:
        yield
        _meet({}, PATIENT)
    except (ToldError, LostError):
        raise
    except BaseException as error:
        _fail(error)
        raise
    finally:
        _group.together = False


def meet(word: dict[str, Any]) -> Sequence[dict[str, Any]]:
    """Return the words (JSON) of all processes, by rank.

    Raises:
        ToldError: Another process failed before it came here.
        LostError: Another process is gone, or stays away for longer than `PROMPT`.
    """
    return [word] if size() == 1 else _meet(word, PROMPT)


def from_main(make: Callable[[], T]) -> T:
    """Return on every process the JSON value that `make` returns on the first; the others wait for it."""
    if size() == 1:
        return make()
    with _alone():
        made = make() if is_main() else None
    value: T = _meet({"value": made}, PATIENT)[0]["value"]
    return value


def main_first(make: Callable[[], T]) -> T:
    """Call `make` on the first process, which writes the files it needs, then on the others, which find them."""
    if size() == 1:
        return make()
    if is_main():
        with _alone():
            made = make()
        _meet({}, PATIENT)
        return made
    _meet({}, PATIENT)
    with _alone():
        return make()


def lead(word: str | None) -> None:
    """Tell the other processes, which `follow`, which piece of work comes next; None: there is no more.

    Only the first process sends; on any other process this does nothing.
    """
    if _group is not None and is_main():
        _meet({"next": word}, PATIENT)


def follow() -> str | None:
    """Return the next piece of work that the first process sends with `lead`."""
    word: str | None = _meet({}, PATIENT)[0]["next"]
    return word


def add_gradients(parameters: Sequence[torch.nn.Parameter]) -> None:
    """Replace every gradient by its sum over the processes; a gradient that no process has stays absent.

    There is one exchange of one flat tensor per optimizer step: an adapter's gradients are small. Processes may use
    different parameters (a share of a batch may have no source), and no process has to know beforehand which.
    """
    if size() == 1:
        return
    device = parameters[0].device
    present = torch.tensor([float(p.grad is not None) for p in parameters], device=device)
    parts = [(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1).float() for p in parameters]
    flat = torch.cat([present, *parts])
    if device.type not in ("cpu", "cuda"):
        flat = flat.cpu()  # the processes exchange on the CPU
    try:
        distributed.all_reduce(flat)
    except RuntimeError as error:
        raise _lost(error) from error
    present, *sums = flat.split([len(parameters), *(p.numel() for p in parameters)])
    for parameter, some, total in zip(parameters, present.tolist(), sums, strict=True):
        parameter.grad = total.view_as(parameter).to(parameter) if some else None


def seed_step(seed: int, step: int) -> None:
    """Seed the random generators for one optimizer step, differently on each process: no state has to be stored."""
    set_seed(int(np.random.SeedSequence([seed, step, rank()]).generate_state(1)[0]))


@contextmanager
def _alone() -> Generator[None]:
    """Let one process work by itself while the others wait, for example to train a translator."""
    assert _group is not None
    _group.together = False
    try:
        yield
    finally:
        _group.together = True


def _meet(word: dict[str, Any], patience: timedelta) -> list[dict[str, Any]]:
    assert _group is not None
    words = _exchange(json.dumps(word).encode(), patience)
    failed = [place for place, other in enumerate(words) if "failed" in other]
    if failed and "failed" not in word:
        told = f"process {failed[0]} of {_group.size}: {words[failed[0]]['failed']}"
        raise ToldError(told) if words[failed[0]]["goes_on"] else LostError(f"stopped, since {told}")
    return words


def _fail(error: BaseException) -> None:
    """Tell the others of a failure, at their current or next meeting."""
    text = str(error) if isinstance(error, UserError) else " ".join(f"{type(error).__name__}: {error}".split())
    _meet({"failed": text[: ROOM // 8], "goes_on": isinstance(error, Exception)}, PROMPT)


def _exchange(data: bytes, patience: timedelta) -> list[dict[str, Any]]:
    assert _group is not None
    assert len(data) <= ROOM, f"a word of {len(data)} bytes"
    mine = torch.frombuffer(bytearray(data.ljust(ROOM)), dtype=torch.uint8)
    all_of_them: list[Tensor] = [torch.empty_like(mine) for _ in range(_group.size)]
    try:
        work = distributed.all_gather(all_of_them, mine, group=_group.words, async_op=True)
        assert work is not None
        work.wait(patience)
    except RuntimeError as error:
        raise _lost(error) from error
    return [json.loads(bytes(tensor.numpy())) for tensor in all_of_them]


def _lost(error: RuntimeError) -> LostError:
    assert _group is not None
    reason = re.sub(r"^\[\S*\] ", "", str(error).strip().splitlines()[0]).split(". ")[0]  # without the C++ source line
    return LostError(
        f"process {_group.rank} of {_group.size} stopped, since another one is gone ({reason}); what is finished is "
        "kept: start them all again"
    )
