"""The one place that chooses the device that models run on, and moves them there.

torch is imported when a device is asked for, not before.
"""

import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from crossflare.errors import UserError, choose

if TYPE_CHECKING:
    import torch
    from torch import Tensor

VARIABLE = "CROSSFLARE_DEVICE"
"""The environment variable that overrules the choice."""
KINDS = ("cuda", "xpu", "mps", "cpu")
"""Kinds of device, the preferred first."""


def best_device() -> "torch.device":
    """Return the device that models train and predict on: the first of `KINDS`, or what CROSSFLARE_DEVICE names.

    If there are several GPUs, it is the first that this process sees; CUDA_VISIBLE_DEVICES says which one.

    Raises:
        UserError: CROSSFLARE_DEVICE names no kind of device, or one that torch does not find.
    """
    import torch

    kind = asked()
    if kind is None:
        kind = next(each for each in KINDS if _is_there(each))
    elif not _is_there(kind):
        there = ", ".join(each for each in KINDS if _is_there(each))
        raise UserError(f"{VARIABLE} is '{kind}', but torch finds no such device here (it finds {there}); unset it")
    return torch.device(kind, 0) if kind in ("cuda", "xpu") else torch.device(kind)


def asked() -> str | None:
    """Return the kind of device that CROSSFLARE_DEVICE names; None if it is not set.

    Raises:
        UserError: It names no kind of device.
    """
    kind = os.environ.get(VARIABLE, "").strip().lower()
    if kind.startswith(("cuda:", "xpu:")):
        raise UserError(f"{VARIABLE} is '{kind}': expected {', '.join(KINDS)}; choose a GPU by CUDA_VISIBLE_DEVICES")
    return choose(f"device in {VARIABLE}", kind, KINDS) if kind else None


def _is_there(kind: str) -> bool:
    import torch

    if kind == "mps":
        return torch.backends.mps.is_available()
    return kind == "cpu" or bool(getattr(torch, kind).is_available())


def chosen(device: "str | torch.device | None") -> "torch.device":
    """Return the device that a caller names as torch does (`cpu`, `cuda:1`); None: the best one.

    Raises:
        UserError: Models do not run on this kind of device, or torch does not find the device.
    """
    import torch

    if device is None:
        return best_device()
    choose("device", str(device).partition(":")[0], KINDS)
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:  # torch raises these if it is built without that kind
        reason = str(error).partition("\n")[0]
        raise UserError(f"device '{device}': torch finds none here ({reason:.120}); name another") from error
    return found


def to_device(model: Any, device: "torch.device | None" = None) -> Any:
    """Move a model to a device (None: the best one) and return it; a model that was loaded onto a device stays."""
    return model if getattr(model, "hf_device_map", None) else model.to(device or best_device())


def name_of(device: "torch.device") -> str:
    """Return a device's name: the model of a GPU, otherwise the kind of device."""
    import torch

    named = device.type in ("cuda", "xpu")
    return str(torch.get_device_module(device).get_device_name(device)) if named else device.type


def memory(device: "torch.device") -> int | None:
    """Return the bytes of memory that a GPU has; None for a device that shares its memory with the processor."""
    import torch

    own = device.type in ("cuda", "xpu")
    return int(torch.get_device_module(device).get_device_properties(device).total_memory) if own else None


def random_state(device: "torch.device") -> "dict[str, Tensor]":
    """Return the state of a device's own random generator, as `<kind>.0`; empty for the processor."""
    import torch

    return {} if device.type == "cpu" else {f"{device.type}.0": torch.get_device_module(device).get_rng_state()}


def set_random_state(device: "torch.device", states: "dict[str, Tensor]") -> None:
    """Set a device's own random generator to the state from `random_state`; ignore other tensors in `states`."""
    import torch

    if device.type != "cpu" and (state := states.get(f"{device.type}.0")) is not None:
        torch.get_device_module(device).set_rng_state(state)


@contextmanager
def seeded(seed: int) -> Generator[None]:
    """Seed the processor's generator, which draws new weights, inside the block; restore its state afterwards."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
