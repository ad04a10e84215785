"""Which number format a device computes in, and the context that switches it on."""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

from crossflare.libraries import guard
from crossflare.training.settings import Precision

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
