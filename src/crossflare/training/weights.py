"""The parameters that a run changes: named, copied, put back, hashed."""

import hashlib
from typing import Any

import torch
from torch import Tensor

from crossflare.errors import UserError

Tensors = dict[str, Tensor]


def trained(model: Any) -> dict[str, torch.nn.Parameter]:
    """Return the parameters that training changes, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def copy_trained(model: Any) -> Tensors:
    """Return a copy of `trained(model)` in main memory."""
    return {name: p.detach().to("cpu", copy=True).contiguous() for name, p in trained(model).items()}


def put_trained(model: Any, tensors: Tensors) -> None:
    """Set `trained(model)` to `tensors`.

    Raises:
        UserError: Names or shapes differ.
    """
    parameters = trained(model)
    wrong = sorted(
        name
        for name in parameters.keys() | tensors.keys()
        if name not in tensors or name not in parameters or tensors[name].shape != parameters[name].shape
    )
    if wrong:
        raise UserError(f"the checkpoint's weights are not this model's: {len(wrong)} differ, first {wrong[0]}")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[name])


def tied_weights(model: torch.nn.Module) -> list[str]:
    """Return the names of parameters that are one under several names, such as embeddings that also write."""
    names: dict[torch.nn.Parameter, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(parameter, []).append(name)
    return [name for alike in names.values() if len(alike) > 1 for name in alike]


def tensors_digest(tensors: dict[str, Tensor]) -> str:
    """Return the sha256 over names, types, shapes and bytes, sorted by name."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
