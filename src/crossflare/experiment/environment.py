"""What a record says of the machine and the libraries that made a number."""

import os
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from crossflare import devices

LIBRARIES = ("crossflare", "torch", "transformers", "peft", "tokenizers", "safetensors", "numpy")


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that numbers depend on."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found


def hardware() -> dict[str, Any]:
    """Return processor, number of cores, threads in use, and the accelerator's name, if any."""
    import torch

    device = devices.best_device()
    return {
        "machine": platform.machine(),
        "system": platform.system(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "accelerator": None if device.type == "cpu" else devices.name_of(device),
    }
