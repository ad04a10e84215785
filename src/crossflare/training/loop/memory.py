"""Numbers and memory: the format that a device computes in, and the peak memory of a piece of work."""

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
    """Return `precision`, with `auto` replaced: bf16 if the device has instructions for it, else fp32."""
    if precision != "auto":
        return precision
    if device.type in ("cuda", "xpu"):
        return "bf16" if torch.get_device_module(device).is_bf16_supported(including_emulation=False) else "fp32"
    # Emulated bfloat16 is slower than float32: ask oneDNN, which computes the matrix products on CPUs.
    known = device.type == "cpu" and torch.backends.mkldnn.is_available()
    return "bf16" if known and guard.name("torch:ops.mkldnn._is_mkldnn_bf16_supported")() else "fp32"


def autocast(precision: Number, device: torch.device) -> AbstractContextManager[object]:
    """Return the context for calling a model whose weights are float32."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@contextmanager
def peak_memory() -> Generator[Callable[[], int | None]]:
    """Measure memory from here on; yield a function that returns the peak in bytes.

    On a CPU, and where a GPU shares its memory, the peak is the resident size of the whole process, including
    libraries and base model. It is None on systems that cannot reset the measurement (Linux can).
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
    """Free the memory of earlier models: those with FLARE are in reference cycles, which Python collects late."""
    gc.collect()
    if (device := devices.best_device()).type in ("cuda", "xpu"):
        torch.get_device_module(device).empty_cache()


def ran_out(error: BaseException) -> bool:
    """Return whether an error means too little memory; torch has no error class for the CPU's memory."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error)


def _highest() -> int | None:
    lines = STATUS.read_text(encoding="utf-8", errors="replace").splitlines()
    found = next((line for line in lines if line.startswith("VmHWM:")), None)
    return None if found is None else int(found.split()[1]) * 1024


def _unknown() -> None:
    return None
