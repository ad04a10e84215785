"""Adapters on disk: one folder, hashed, checked in full before a tensor is used; opening one only parses data.

    adapter_config.json  adapter_model.safetensors    as peft writes them
    crossflare.json      the base it belongs to, and what the caller adds (task, languages, engines)
    source_task/         stage 1: the adapter that is merged into the base first, in the same form
    manifest.json        sha256 of every file

A load that fails leaves the base model as it was.
"""

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from crossflare.errors import UserError
from crossflare.files import commit_dir, open_dir, read_json
from crossflare.fusion.adapter_config import parse_config
from crossflare.fusion.config import FlareConfig
from crossflare.fusion.identity import BaseIdentity, identify
from crossflare.fusion.latents import current_name
from crossflare.fusion.quantised_layers import is_quantised
from crossflare.fusion.readme import readme

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
CARD = "crossflare.json"
README = "README.md"
SOURCE_TASK = "source_task"
FLOATING = ("F64", "F32", "F16", "BF16")
LARGEST = 1e6
"""No trained adapter weight comes near this; larger ones are damage or mischief."""


def save_adapter(
    model: PeftModel,
    folder: Path,
    *,
    base: BaseIdentity,
    source_task: Path | None = None,
    card: dict[str, Any] | None = None,
    adapter: str = "default",
) -> None:
    """Save an adapter with its head, all at once.

    Args:
        model: The model that carries the adapter.
        folder: Where to; an adapter already there is replaced once the new one is whole.
        base: The pretrained model under everything, from `identify` before any adapter was added.
        source_task: The folder of the stage 1 adapter that was merged into the base; copied in.
        card: JSON values to keep with it.
        adapter: The adapter's name in `model`.

    Raises:
        UserError: The folder cannot be written; what was there is kept.
    """
    tensors = {key: t.detach().cpu().contiguous() for key, t in adapter_tensors(model, adapter).items()}
    config: dict[str, Any] = dict(model.peft_config[adapter].to_dict()) | {"inference_mode": True}
    config["target_modules"] = sorted(config["target_modules"])
    config["peft_type"] = str(getattr(config["peft_type"], "value", config["peft_type"]))

    def fill(place: Path) -> None:
        (place / WEIGHTS).write_bytes(save(tensors, metadata={"format": "pt"}))
        (place / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True, default=sorted))
        (place / README).write_text(readme(base, card or {}), encoding="utf-8")
        (place / CARD).write_text(json.dumps({"base": base.to_dict(), **(card or {})}, indent=2, sort_keys=True))
        if source_task is not None:
            shutil.copytree(source_task, place / SOURCE_TASK)

    commit_dir(folder, fill)


def load_adapter(
    model: nn.Module, folder: Path, *, base: BaseIdentity | None = None, merged: bool = False
) -> PeftModel:
    """Put a saved adapter on a pretrained base, merging its stage 1 into the base first.

    Args:
        model: The pretrained base model with a fresh head.
        folder: Where `save_adapter` put it.
        base: `identify(model)`, when it is already known.
        merged: The base holds the adapter's stage 1 already, as a quantised one must.

    Raises:
        UserError: The folder is incomplete or changed, the configuration is not one of ours, tensors are missing,
            unexpected, misshapen or not finite, or the base is another one (both are named).
    """
    card = read_card(folder)
    _check_base(card, base or identify(model), folder)
    parts = [folder / SOURCE_TASK, folder] if (folder / SOURCE_TASK).is_dir() and not merged else [folder]
    if len(parts) > 1 and any(is_quantised(module) for module in model.modules()):
        raise UserError(
            f"{folder}: its stage 1 cannot be merged into quantised weights, which are too coarse for it; load the "
            "base in full precision, merge, and quantise the result (training.base_models.load_base does)"
        )
    tensors = {part: _check_fit(model, part) for part in parts}
    for part in parts[:-1]:
        model = _attach(model, part, tensors[part]).merge_and_unload()
    return _attach(model, folder, tensors[folder]).eval()


def read_card(folder: Path) -> dict[str, Any]:
    """Check the folder's hashes and return its card."""
    names = open_dir(folder)
    for name in (WEIGHTS, CONFIG, CARD):
        if name not in names:
            raise UserError(f"{folder}: {name} is missing; expected an adapter saved by crossflare (safetensors only)")
    card = read_json(folder / CARD)
    if not isinstance(card, dict) or not isinstance(card.get("base"), dict):
        raise UserError(f"{folder / CARD}: expected an object with the key 'base'; save the adapter again")
    return card


def export_plain_lora(model: PeftModel, folder: Path, *, adapter: str = "default") -> None:
    """Write a stock LoRA that computes what the adapter computes without a source; stock peft loads it.

    Raises:
        UserError: phi without a source is not the identity (the relu forms), so no LoRA has its effect.
    """
    from crossflare.fusion.functions import FUSIONS

    config = model.peft_config[adapter]
    if not isinstance(config, FlareConfig):
        raise UserError(f"adapter '{adapter}' is {config.peft_type}, expected FLARE; it needs no export")
    if not (config.released or FUSIONS[config.fusion].linear_alone):
        linear = ", ".join(name for name, row in FUSIONS.items() if row.linear_alone)
        raise UserError(
            f"{config.fusion} without a source is relu(T), which no LoRA computes; only {linear} can be exported"
        )
    tensors = {
        key: t.detach().cpu().contiguous()
        for key, t in adapter_tensors(model, adapter).items()
        if "lora_fusion" not in key and "lora_latents" not in key
    }

    def fill(place: Path) -> None:
        (place / WEIGHTS).write_bytes(save(tensors, metadata={"format": "pt"}))
        config.to_lora().save_pretrained(str(place))

    commit_dir(folder, fill)


def adapter_tensors(model: PeftModel, adapter: str = "default") -> dict[str, Tensor]:
    """Return the adapter's own tensors and its head's, by the names that peft gives them on disk."""
    return get_peft_model_state_dict(model, adapter_name=adapter, save_embedding_layers=False)


def _attach(model: nn.Module, folder: Path, tensors: dict[str, Tensor]) -> PeftModel:
    wrapped = get_peft_model(model, parse_config(folder / CONFIG))
    set_peft_model_state_dict(wrapped, tensors)
    return wrapped


def _check_fit(model: nn.Module, folder: Path) -> dict[str, Tensor]:
    """Return the adapter's tensors after trying them on a copy of the model that has shapes and no weights."""
    config = parse_config(folder / CONFIG)
    weights = [*model.parameters(), *model.buffers()]
    empty = copy.deepcopy(model, {id(tensor): _hollow(tensor) for tensor in weights})
    try:
        wrapped = get_peft_model(empty, config)
    except UserError as error:
        raise UserError(f"{folder / CONFIG}: {error}") from error
    except Exception as error:  # whatever peft raises: the file is the user's, and nothing has been touched
        reason = str(error).partition("\n")[0]
        raise UserError(f"{folder / CONFIG}: does not fit {type(model).__name__} ({reason:.200})") from error
    return _read_tensors(folder / WEIGHTS, adapter_tensors(wrapped))


def _hollow(tensor: Tensor) -> Tensor:
    """Return a tensor without data that has the shape, type and attributes of another; quantised ones carry more."""
    empty = tensor.detach().to("meta")
    vars(empty).update(vars(tensor))
    return empty


def _read_tensors(path: Path, expected: dict[str, Tensor]) -> dict[str, Tensor]:
    """Read exactly the expected tensors: same names, same shapes, floating, finite and of sane size."""
    try:
        with safe_open(path, framework="pt") as file:
            names = {current_name(key): key for key in file.keys()}  # noqa: SIM118
            shapes = {name: tuple(file.get_slice(key).get_shape()) for name, key in names.items()}
            _compare(path, shapes, {key: tuple(tensor.shape) for key, tensor in expected.items()})
            for key in names.values():
                if (found := file.get_slice(key).get_dtype()) not in FLOATING:
                    raise UserError(f"{path}: {key} is of type {found}, expected {', '.join(FLOATING)}; save it again")
            tensors = {name: file.get_tensor(key) for name, key in names.items()}
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{path}: expected a whole safetensors file, but it is damaged ({error}); fetch it again"
        ) from error
    for key, tensor in tensors.items():
        if not torch.isfinite(tensor).all() or (tensor.numel() and tensor.abs().max() > LARGEST):
            raise UserError(f"{path}: {key} holds numbers that are not finite or above {LARGEST:g}; train it again")
    return tensors


def _compare(path: Path, found: dict[str, tuple[int, ...]], expected: dict[str, tuple[int, ...]]) -> None:
    problems = [f"missing {key}" for key in expected.keys() - found.keys()]
    problems += [f"unexpected {key}" for key in found.keys() - expected.keys()]
    problems += [
        f"{key} is {list(found[key])}, expected {list(shape)}"
        for key, shape in expected.items()
        if key in found and found[key] != shape
    ]
    if problems:
        shown = "; ".join(sorted(problems)[:3]) + (f"; and {len(problems) - 3} more" if len(problems) > 3 else "")
        raise UserError(f"{path}: the tensors do not fit this base model and configuration: {shown}")


def _check_base(card: dict[str, Any], found: BaseIdentity, folder: Path) -> None:
    said = [card["base"].get(key) for key in ("name", "digest", "hidden_size", "blocks")]
    if [type(value) for value in said] != [str, str, int, int]:
        raise UserError(f"{folder / CARD}: expected the base's name, digest, hidden_size and blocks, got {said!r:.200}")
    wanted = BaseIdentity(*said)
    if wanted.digest != found.digest:
        raise UserError(f"{folder}: the adapter was trained on {wanted}, this base is {found}; load it on its own base")


__all__ = ["adapter_tensors", "export_plain_lora", "load_adapter", "read_card", "save_adapter"]
