"""The task heads of a model: which modules are trained whole with an adapter, and how many labels they have."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import safe_open
from torch import nn

from crossflare.fusion.identity import head_modules

PREFIX = "base_model.model."
"""What peft puts before a module's name on disk."""


NAMED_BY_PEFT = ("classifier", "score", "qa_outputs")
"""Modules that peft trains whole for a task by their names alone, wherever they are."""


def saved_whole(model: nn.Module) -> list[str]:
    """Return the names of the modules that are trained whole with an adapter: the head.

    Of a head with a layer that peft takes by its name, these are the parts: else peft would save the layer twice.
    """
    names: list[str] = []
    for head in head_modules(model):
        parts = {name: each for name, each in model.get_submodule(head).named_children() if [*each.parameters()]}
        names += [f"{head}.{name}" for name in parts] if parts.keys() & {*NAMED_BY_PEFT} else [head]
    return names


def shapes_in(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of an adapter's tensors, by the names that the base model has for them."""
    with safe_open(path, framework="pt") as file:
        return {name.removeprefix(PREFIX): tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def fit_heads(model: nn.Module, shapes: Mapping[str, tuple[int, ...]], adapter: str | None = None) -> None:
    """Replace linear layers that have another number of outputs than the tensors of an adapter.

    Args:
        model: The base model.
        shapes: See `shapes_in`. An adapter has weights of whole layers only for heads.
        adapter: The adapter on the model whose heads are meant; None: the model's own.
    """
    own = "" if adapter is None else f".modules_to_save.{adapter}"
    for path, layer in list(model.named_modules()):
        if not isinstance(layer, nn.Linear) or own not in path:
            continue
        rows, *columns = shapes.get(f"{path.replace(own, '')}.weight", layer.weight.shape)
        if rows != layer.out_features and columns == [layer.in_features]:
            parent, _, name = path.rpartition(".")
            fitting = nn.Linear(layer.in_features, rows, bias="bias" in dict(layer.named_parameters())).to(layer.weight)
            setattr(model.get_submodule(parent), name, fitting)
