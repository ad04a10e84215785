"""Numbers and memory: the format that a device computes in, and how much memory a piece of work took at most."""

import gc
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Literal

import torch

from crossflare import devices
from crossflare.libraries import guard
from crossflare.training.loop.settings import Precision

Number = Literal["fp32", "bf16"]


def resolve(precision: Precision, device: torch.device) -> Number:
    """Return `precision`, with `auto` replaced: bf16 where the device has instructions for it."""
    if precision != "auto":
        return precision
    if device.type in ("cuda", "xpu"):
        return "bf16" if torch.get_device_module(device).is_bf16_supported(including_emulation=False) else "fp32"
    # Emulated bfloat16 is slower than float32: ask oneDNN, which does the matrix products on CPUs.
    known = device.type == "cpu" and torch.backends.mkldnn.is_available()
    return "bf16" if known and guard.name("torch:ops.mkldnn._is_mkldnn_bf16_supported")() else "fp32"


def autocast(precision: Number, device: torch.device) -> AbstractContextManager[object]:
    """Return the context in which to call a model whose weights are float32."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


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


def free_memory() -> None:
    """Give back what earlier models held: those with FLARE stand in circles of references, which Python finds late."""
    gc.collect()
    if (device := devices.best_device()).type in ("cuda", "xpu"):
        torch.get_device_module(device).empty_cache()


def ran_out(error: BaseException) -> bool:
    """Whether an error says that there was too little memory; of the processor's torch has no class of its own."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error)


def _highest() -> int | None:
    lines = STATUS.read_text(encoding="utf-8", errors="replace").splitlines()
    found = next((line for line in lines if line.startswith("VmHWM:")), None)
    return None if found is None else int(found.split()[1]) * 1024


def _unknown() -> None:
    return None
