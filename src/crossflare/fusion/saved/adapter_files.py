"""Adapters on disk: one folder, hashed, checked in full before a tensor is used; opening one only parses data.

    adapter_config.json  adapter_model.safetensors    as peft writes them
    crossflare.json      the base it belongs to, and what the caller adds (task, languages, engines)
    source_task/         the adapter that is merged into the base first, in the same form: stage 1, or that of a related
                         language (`through`), with stage 1 in a source_task/ of its own
    manifest.json        sha256 of every file

A load that fails leaves the base model as it was.
"""

import json
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import save
from torch import Tensor, nn

from crossflare.disk.files import CARD, MANIFEST, commit_dir
from crossflare.disk.versions import FORMATS
from crossflare.errors import UserError
from crossflare.fusion.config import FlareConfig
from crossflare.fusion.identity import BaseIdentity, identify
from crossflare.fusion.saved.adapter_check import (
    CONFIG,
    LIMITS,
    README,
    SOURCE_TASK,
    WEIGHTS,
    check_base,
    check_folder,
    check_saved_whole,
    fitting_tensors,
)
from crossflare.fusion.saved.adapter_config import parse_config
from crossflare.fusion.saved.hub import folder_of
from crossflare.fusion.saved.readme import About, readme
from crossflare.libraries.peft import LoraLayer
from crossflare.libraries.torch import is_quantised

ORIGIN = "crossflare_origin"
"""The attribute of a model that `load_adapter` made: what it came from, an `Opened`."""


def adapter_about(config: PeftConfig, card: Mapping[str, Any]) -> About:
    """Return what a README says of an adapter beyond its card."""
    fused = "target" if not isinstance(config, FlareConfig) else "both" if config.mt_dim is None else "latents"
    task_type = str(getattr(config.task_type, "value", config.task_type))
    return About(reads=str(card.get("reads") or fused), task_type=task_type, licence=card.get("licence"))


def save_adapter(
    model: PeftModel,
    folder: str | Path,
    *,
    base: BaseIdentity,
    source_task: Path | None = None,
    card: dict[str, Any] | None = None,
    adapter: str = "default",
) -> None:
    """Save an adapter with its head, all at once.

    >>> import peft
    >>> from transformers import AutoModelForSequenceClassification
    >>> base = AutoModelForSequenceClassification.from_pretrained("base", num_labels=2)
    >>> identity = crossflare.identify(base)
    >>> model = peft.get_peft_model(base, crossflare.FlareConfig(task_type="SEQ_CLS"))
    >>> crossflare.save_adapter(model, "mine", base=identity)

    Args:
        model: The model that carries the adapter.
        folder: The folder to write; an adapter that is there already is replaced once the new one is complete.
        base: The pretrained model under everything, from `identify` before any adapter was added.
        source_task: The folder of the adapter that was merged into the base, usually stage 1. It is copied in, with the
            adapter that was merged before it.
        card: JSON values to keep with it.
        adapter: The adapter's name in `model`.

    Raises:
        UserError: The folder cannot be written, or the adapter replaces parts of the base, which `load_adapter` would
            refuse; what was there is kept.
    """
    check_saved_whole(model, adapter)
    weights = weights_of(model, adapter)
    config: dict[str, Any] = dict(model.peft_config[adapter].to_dict()) | {"inference_mode": True}
    config["target_modules"] = sorted(config["target_modules"])
    config["peft_type"] = str(getattr(config["peft_type"], "value", config["peft_type"]))

    def fill(place: Path) -> None:
        (place / WEIGHTS).write_bytes(weights)
        (place / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True, default=sorted))
        (place / README).write_text(
            readme(base, card or {}, adapter_about(model.peft_config[adapter], card or {})), "utf-8"
        )
        said = {**(card or {}), "base": base.to_dict(), "format": FORMATS["a card"]}
        (place / CARD).write_text(json.dumps(said, indent=2, sort_keys=True))
        for each in () if source_task is None else (MANIFEST, *LIMITS):
            assert source_task is not None
            if f"{SOURCE_TASK}/{each}" in LIMITS and (source_task / each).is_file():
                (place / SOURCE_TASK / each).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source_task / each, place / SOURCE_TASK / each)

    commit_dir(Path(folder), fill)


def load_adapter(
    model: nn.Module,
    folder: str | Path,
    *,
    base: BaseIdentity | None = None,
    merged: bool = False,
    adapter: str = "default",
) -> PeftModel:
    """Put a saved adapter on a pretrained base, merging its stage 1 into the base first.

    >>> from transformers import AutoModelForSequenceClassification
    >>> base = AutoModelForSequenceClassification.from_pretrained("base", num_labels=2)
    >>> model = crossflare.load_adapter(base, "runs/reviews/adapters/flare-sw-seed0")
    >>> model.active_adapter
    'default'

    Args:
        model: The pretrained base model with a fresh head.
        folder: The folder that `save_adapter` wrote, or a name on the hub, `owner/name` or `owner/name@revision`.
        base: `identify(model)`, if it is already known.
        merged: Whether the base already holds the adapter's stage 1, as a quantised base must.
        adapter: The name that the adapter gets.

    Raises:
        UserError: The folder is incomplete or changed, the configuration is not accepted, tensors are missing,
            unexpected, misshapen or not finite, or the base is another one (the message names both). The model is
            unchanged.
    """
    folder = folder_of(folder)
    opened = check_folder(folder)
    check_base(folder, opened.base, base or identify(model))
    chain = () if merged else opened.chain
    if chain and any(is_quantised(module) for module in model.modules()):
        raise UserError(
            f"{folder}: its stage 1 cannot be merged into quantised weights, which are too coarse for it; load the "
            "base in full precision, merge, and quantise the result (crossflare.training.bases.load.load_base does)"
        )
    tensors = fitting_tensors(model, folder, opened.config)
    configs = {each: parse_config(each / CONFIG) for each in chain}
    before = {each: (config, fitting_tensors(model, each, config)) for each, config in configs.items()}
    with unchanged_on_failure(model):
        made = _attach(_merged(model, before), opened.config, tensors, adapter).eval()
    vars(made)[ORIGIN] = opened
    return made


@contextmanager
def unchanged_on_failure(model: nn.Module) -> Generator[None]:
    """Restore modules, parameters, hooks, attributes and `requires_grad` of a model if the block raises.

    The numbers in the weights are not copied: the block must not change them until everything that can fail is done.
    """
    attributes = [(vars(module), dict(vars(module))) for module in model.modules()]
    tables: list[tuple[dict[str, Any], dict[str, Any]]] = [
        (value, dict(value)) for _, before in attributes for value in before.values() if isinstance(value, dict)
    ]
    trained = [(weight, weight.requires_grad) for weight in model.parameters()]
    try:
        yield
    except BaseException:
        for table, before in attributes + tables:
            table.clear()
            table.update(before)
        for weight, before in trained:
            if weight.requires_grad != before:
                weight.requires_grad_(before)
        raise


@torch.no_grad()
def _merged(model: nn.Module, chain: Mapping[Path, tuple[LoraConfig, dict[str, Tensor]]]) -> nn.Module:
    """Return a model with adapters merged one after the other; if one cannot be merged, restore the weights."""
    kept: list[tuple[Tensor, Tensor]] = []
    try:
        for place, (folder, (config, tensors)) in enumerate(chain.items(), 1):
            wrapped = _attach(model, config, tensors)
            weights = _check_merge(wrapped, folder)
            kept += [(weight, weight.clone()) for weight in weights] if place < len(chain) else []
            model = wrapped.merge_and_unload()
    except BaseException:
        for weight, before in kept:
            weight.copy_(before)
        raise
    return model


def read_card(folder: Path) -> dict[str, Any]:
    """Check the folder (see `check_folder`) and return its card."""
    return check_folder(folder).card


def adapter_tensors(model: PeftModel, adapter: str = "default") -> dict[str, Tensor]:
    """Return the adapter's own tensors and its head's, by the names that peft gives them on disk."""
    return get_peft_model_state_dict(model, adapter_name=adapter, save_embedding_layers=False)


def weights_of(model: PeftModel, adapter: str) -> bytes:
    """Return the content of an adapter's file of weights."""
    tensors = {key: t.detach().cpu().contiguous() for key, t in adapter_tensors(model, adapter).items()}
    return save(tensors, metadata={"format": "pt"})


def _attach(model: nn.Module, config: LoraConfig, tensors: dict[str, Tensor], adapter: str = "default") -> PeftModel:
    wrapped = get_peft_model(model, config, adapter)
    set_peft_model_state_dict(wrapped, tensors, adapter)
    return wrapped


@torch.no_grad()
def _check_merge(model: PeftModel, folder: Path) -> list[Tensor]:
    """Return the weights that merging changes; refuse an adapter that makes one infinite, before any is changed."""
    weights: list[Tensor] = []
    for name, module in model.named_modules():
        layer: Any = module
        if isinstance(layer, LoraLayer):
            for adapter in layer.active_adapters:
                weight: Tensor = layer.get_base_layer().weight
                merged = (weight + layer.get_delta_weight(adapter)).to(weight.dtype)  # it holds less than the sum
                if not torch.isfinite(merged).all():
                    raise UserError(f"{folder}: merging it makes {name} infinite or no number; train it again")
                weights.append(weight)
    return weights


__all__ = ["adapter_tensors", "load_adapter", "read_card", "save_adapter"]
