"""Checkpoints without pickles; a kill, a full disk or a flipped bit cannot turn them into a wrong result.

A checkpoint is the folder `step-00000042`, committed atomically with its manifest of hashes:

    weights.safetensors    the trained parameters
    best.safetensors       the parameters of the best evaluation so far, once there is one
    optimizer.safetensors  the optimizer's tensors, `<index>.<name>`
    random.safetensors     the state of torch's and numpy's generators
    state.json             scheduler, the optimizer's numbers, Python's generator, progress, fingerprint
"""

import hashlib
import os
import random
import shutil
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor

from crossflare import devices
from crossflare.disk import locks
from crossflare.disk.files import commit_dir, open_dir, read_json, write_json
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
        UserError: The names or shapes differ.
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
    """Return the names of parameters that have several names, such as embeddings that are also the output layer."""
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


Fingerprint = dict[str, Any]
"""Field -> JSON value: everything that the trained weights depend on."""

WEIGHTS, BEST, OPTIMIZER, RANDOM = "weights", "best", "optimizer", "random"
PROCESSES = "processes"
"""The fingerprint's field for the number of processes; it is there once they have drawn random numbers."""
STATE = "state.json"
KEPT = 2
"""How many of the newest checkpoints are kept: one, and one more in case the first is damaged."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One checkpoint in memory."""

    step: int
    tensors: Mapping[str, Tensors]
    """File -> its tensors: `weights`, `optimizer`, `random`, and `best` if there is one."""
    state: dict[str, Any]


def path_of(folder: Path, step: int) -> Path:
    """Return the folder of the checkpoint of `step`."""
    return folder / f"step-{step:08d}"


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Commit a checkpoint, then drop all but the newest `KEPT`.

    Raises:
        UserError: The disk is full or cannot be written; the earlier checkpoints stay as they are.
    """

    def fill(place: Path) -> None:
        for name, tensors in checkpoint.tensors.items():
            (place / f"{name}.safetensors").write_bytes(save(tensors))
        write_json(place / STATE, checkpoint.state)

    final = path_of(folder, checkpoint.step)
    try:
        commit_dir(final, fill)
    except UserError as error:
        kept = [path.name for path in _found(folder)]
        last = f"the last checkpoint, {kept[0]}, is good" if kept else "there is no earlier checkpoint"
        raise UserError(f"{error}; training stopped at step {checkpoint.step}, {last}") from error
    for old in _found(folder)[KEPT:]:
        _drop(old)
    return final


def newest(folder: Path) -> tuple[Path, Checkpoint] | None:
    """Read the newest complete checkpoint; return None when there is no checkpoint at all.

    A damaged checkpoint is skipped with a warning, and deleted once an older one has been read.

    Raises:
        UserError: There are checkpoints, and every one is damaged.
    """
    damaged: list[tuple[Path, str]] = []
    for path in _found(folder):
        try:
            checkpoint = read_checkpoint(path)
        except UserError as error:
            damaged.append((path, str(error)))
            continue
        if damaged:
            names = ", ".join(bad.name for bad, _ in damaged)
            warnings.warn(f"{folder}: {names} damaged ({damaged[0][1]}); going on from {path.name}", stacklevel=2)
            for bad, _ in damaged:
                _drop(bad)
        return path, checkpoint
    if damaged:
        raise UserError(
            f"{folder}: every checkpoint is damaged ({damaged[0][1]}); bring one back from a copy, or delete the "
            "folder to train from the start"
        )
    return None


def read_checkpoint(path: Path) -> Checkpoint:
    """Read one checkpoint.

    Raises:
        UserError: It is damaged, or it is not a checkpoint.
    """
    names = open_dir(path)
    for needed in (f"{WEIGHTS}.safetensors", f"{OPTIMIZER}.safetensors", f"{RANDOM}.safetensors", STATE):
        if needed not in names:
            raise UserError(f"{path}: {needed} is missing; not a checkpoint of this version")
    files = [name.removesuffix(".safetensors") for name in names if name.endswith(".safetensors")]
    tensors = {name: load((path / f"{name}.safetensors").read_bytes()) for name in files}
    step = int(path.name.removeprefix("step-"))
    return Checkpoint(step, tensors, read_json(path / STATE))


def compare(stored: Fingerprint, current: Fingerprint, where: Path) -> None:
    """Refuse to go on from a checkpoint of another run.

    Raises:
        UserError: Fields differ; the message names each with both values.
    """
    changed = [
        f"{name} was {stored.get(name, 'not set')!r}, is {current.get(name, 'not set')!r}"
        for name in sorted(stored.keys() | current.keys())
        if stored.get(name) != current.get(name)
    ]
    if changed:
        raise UserError(
            f"{where}: a checkpoint of another run: {'; '.join(changed)}; go back to those values, or use another "
            "folder (or delete this one) to train from the start"
        )


@contextmanager
def locked(folder: Path) -> Generator[None]:
    """Keep other processes out of `folder`, and delete the unfinished files of killed ones.

    Raises:
        UserError: Another process trains in the folder.
    """
    with locks.alone(folder / ".lock", "trains there"):
        for junk in (*folder.glob(".step-*.tmp"), *folder.glob(".step-*.drop")):
            shutil.rmtree(junk, ignore_errors=True)
        yield


def pack_optimizer(optimizer: Any) -> tuple[Tensors, dict[str, Any]]:
    """Split an optimizer's state into tensors and JSON."""
    content = optimizer.state_dict()
    tensors: Tensors = {}
    numbers: dict[str, Any] = {}
    for index, entries in content["state"].items():
        for name, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{name}"] = value.detach().cpu().contiguous()
            else:
                numbers[f"{index}.{name}"] = value
    return tensors, {"numbers": numbers, "groups": content["param_groups"]}


def unpack_optimizer(optimizer: Any, tensors: Tensors, rest: dict[str, Any]) -> None:
    """Set the state of an optimizer over the same parameters to what `pack_optimizer` returned."""
    state: dict[int, dict[str, Any]] = {}
    for key, value in (*tensors.items(), *rest["numbers"].items()):
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    # JSON has no tuples, but AdamW needs its betas as one: what is a tuple in the new optimizer becomes one again.
    groups = [
        {k: tuple(v) if isinstance(fresh.get(k), tuple) else v for k, v in group.items()}
        for group, fresh in zip(rest["groups"], optimizer.state_dict()["param_groups"], strict=True)
    ]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def pack_random() -> tuple[Tensors, dict[str, Any]]:
    """Return the state of all random generators as tensors and JSON."""
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    tensors = {"torch": torch.get_rng_state(), "numpy": torch.from_numpy(np.asarray(keys, dtype=np.int64))}
    tensors |= devices.random_state(devices.best_device())
    return tensors, {"python": random.getstate(), "numpy": [kind, int(position), int(has_gauss), float(gauss)]}


def random_states() -> list[Tensor]:
    """Return the states of torch's generators: the CPU's and the training device's."""
    return [torch.get_rng_state(), *devices.random_state(devices.best_device()).values()]


def unpack_random(tensors: Tensors, rest: dict[str, Any]) -> None:
    """Restore the states of all random generators that `pack_random` returned."""
    version, words, gauss = rest["python"]
    random.setstate((version, tuple(words), gauss))
    kind, position, has_gauss, cached = rest["numpy"]
    np.random.set_state((kind, tensors["numpy"].numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(tensors["torch"])
    devices.set_random_state(devices.best_device(), tensors)


def _found(folder: Path) -> list[Path]:
    """Return the checkpoints, newest first, by step: the times of files change when a folder is copied."""
    steps = [path for path in folder.glob("step-*") if path.is_dir() and path.name.removeprefix("step-").isdigit()]
    return sorted(steps, key=lambda path: int(path.name.removeprefix("step-")), reverse=True)


def _drop(path: Path) -> None:
    """Delete a checkpoint such that a kill never leaves a part of it under its name.

    A checkpoint that cannot be deleted stays, which costs only space; the next save tries again.
    """
    aside = path.with_name(f".{path.name}.drop")
    shutil.rmtree(aside, ignore_errors=True)
    with suppress(OSError):
        os.replace(path, aside)
    shutil.rmtree(aside, ignore_errors=True)
