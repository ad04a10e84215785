"""The disk space of models that are as large as their base; the user is told before anything is trained."""

import json
from collections.abc import Iterator
from math import prod
from pathlib import Path

from crossflare.errors import UserError
from crossflare.recipe.engines import model_place
from crossflare.recipe.spec import ModelSpec, Spec
from crossflare.training.bases.packaged import BASES

BYTES = 4
"""The bytes of a weight: models are trained and saved in float32."""
CHECKPOINTS = 8
"""The size of the checkpoints, in sizes of the model: each has the weights, the best weights, and AdamW's two numbers
per weight; two checkpoints are kept."""


def large_models(spec: Spec) -> list[str]:
    """Return a line for each method that trains all weights: the number and size of its models."""
    return list(_lines(spec))


def _lines(spec: Spec) -> Iterator[str]:
    for method in spec.methods:
        if method.about.learns != "model":
            continue
        languages = 1 if method.joint or method.trained_in else len(spec.languages(method))
        rates = len(spec.training(method).lrs)
        count = languages * (len(spec.seeds) + rates - 1)  # the trial of the chosen rate is its first seed
        size = base_bytes(spec.model)
        models, each = ("model", "") if count == 1 else ("models", "each ")
        if size is None:
            yield f"{method.name}: {count} {models}, {each}as large as {spec.model.name} in float32"
        else:
            more = f"; while one trains, {_shown(CHECKPOINTS * size)} more for its checkpoints"
            yield f"{method.name}: {count} {models} of about {_shown(size)}, {_shown(count * size)} in all{more}"


def base_bytes(model: ModelSpec) -> int | None:
    """Return the bytes of a base's weights in float32; None if its files are not on this machine."""
    packaged = BASES.get(model.name)
    if packaged is not None and packaged.conversion is not None:
        return packaged.conversion.megabytes * 1_000_000
    place = packaged.weights().parent if packaged is not None else Path(model_place(model.name))
    paths = sorted(place.glob("*.safetensors")) if place.is_dir() else _cached(model)
    return sum(map(_elements, paths)) * BYTES or None


def _cached(model: ModelSpec) -> list[Path]:
    from huggingface_hub import try_to_load_from_cache

    try:
        found = try_to_load_from_cache(model.name, "model.safetensors", revision=model.revision)
    except (ValueError, OSError):  # not a valid model name
        return []
    return [Path(found)] if isinstance(found, str) else []


def _elements(path: Path) -> int:
    """Return how many numbers a safetensors file has, according to its header."""
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        return sum(prod(each["shape"]) for name, each in header.items() if name != "__metadata__")
    except (OSError, ValueError, KeyError, TypeError, MemoryError) as error:
        raise UserError(f"{path}: expected a safetensors file, but it is damaged; fetch the model again") from error


def _shown(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{max(size / 1e6, 0.1):.1f} MB"
