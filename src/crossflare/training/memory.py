"""How much memory a piece of work took at most: of the GPU where it runs on one that counts, else of this process."""

from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from crossflare import devices

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@contextmanager
def peak_memory() -> Generator[Callable[[], int | None]]:
    """Measure from here on; call what is yielded for the most bytes held at once.

    On a CPU, and where a GPU shares its memory, it is the resident size of the whole process, libraries and base model
    included, and None on systems that cannot measure it anew (Linux can).
    """
    device = devices.best_device()
    if device.type in ("cuda", "xpu"):
        counter = torch.get_device_module(device)
        counter.reset_peak_memory_stats()
        yield counter.max_memory_allocated
        return
    anew = False
    with suppress(OSError):
        RESET.write_text("5", encoding="ascii")  # see proc(5): resets the highest resident size
        anew = True
    yield _highest if anew else _unknown


def ran_out(error: BaseException) -> bool:
    """Whether an error says that there was too little memory; of the processor's torch has no class of its own."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error)


def _highest() -> int | None:
    lines = STATUS.read_text(encoding="utf-8", errors="replace").splitlines()
    found = next((line for line in lines if line.startswith("VmHWM:")), None)
    return None if found is None else int(found.split()[1]) * 1024


def _unknown() -> None:
    return None
