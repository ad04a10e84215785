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
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import save
from torch import Tensor, nn

from crossflare.disk.files import CARD, MANIFEST, commit_dir
from crossflare.disk.versions import FORMATS
from crossflare.errors import UserError
from crossflare.fusion.adapter_check import (
    CONFIG,
    LIMITS,
    README,
    SOURCE_TASK,
    WEIGHTS,
    check_base,
    check_folder,
    fitting_tensors,
    outside_of_heads,
)
from crossflare.fusion.adapter_config import parse_config
from crossflare.fusion.identity import BaseIdentity, identify
from crossflare.fusion.tuner import unchanged_on_failure
from crossflare.libraries.peft import AuxiliaryTrainingWrapper, LoraLayer
from crossflare.libraries.torch import is_quantised


def readme(base: BaseIdentity, card: Mapping[str, Any]) -> str:
    """Return the text of README.md: tags for the hub in its front matter, and the licences of the translations.

    Args:
        base: The model that the adapter belongs to.
        card: The card, as `save_adapter` takes it; the text leaves out what the card lacks.
    """
    lines = front_lines(base, card, f"An adapter of {base.name}", library="peft", tag="lora")
    lines += [
        "",
        "Put it on a base model with `crossflare.load_adapter`, which checks it and merges its stage 1; or, where it",
        "has none, with peft after `import crossflare`.",
    ]
    return "\n".join(lines) + "\n"


def front_lines(base: BaseIdentity, card: Mapping[str, Any], title: str, *, library: str, tag: str) -> list[str]:
    """Return the first lines of README.md, which are the same for every kind of folder."""
    languages = list(dict.fromkeys(str(card[name]) for name in ("source", "through", "language") if card.get(name)))
    front = [f"library_name: {library}", f"base_model: {_quoted(base.name)}", f"tags: [crossflare, {tag}]"]
    front += [f"language: [{', '.join(map(_quoted, languages))}]"] if languages else []
    lines = ["---", *front, "---", "", f"# {title}", ""]
    if card.get("kind"):
        task = cast(dict[str, Any], card.get("task") or {}).get("name", "a task")
        lines += [f"Kind: {card['kind']}; task: {task}; languages: {', '.join(languages) or 'not named'}.", ""]
    engines = _engines(card)
    for what, engine in engines.items():
        licence = str(engine.get("licence", "not stated"))
        model = f" ({engine['model']})" if engine.get("model") else ""
        lines.append(f"- {what}: {engine.get('engine')}{model}, licence {licence}")
    if any("-nc" in str(engine.get("licence", "")).lower() for engine in engines.values()):
        lines += ["", "**Not for commercial use:** the licence of a translation that was trained on forbids it."]
    if card.get("kind"):
        lines += ["", "Predict with it: `crossflare.open_adapter(folder).predict(texts, sources)`."]
    return lines


def _engines(card: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the translation engines, by what they translated."""
    named = {"texts translated by": card.get("to_target"), "sources translated by": card.get("train_source")}
    return {what: cast(Mapping[str, Any], engine) for what, engine in named.items() if isinstance(engine, Mapping)}


def _quoted(text: str) -> str:
    """Return a text in quotes, so that YAML reads it back unchanged: `no` is a language."""
    return "'" + text.replace("'", "''") + "'"


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
    _check_saved_whole(model, adapter)
    tensors = {key: t.detach().cpu().contiguous() for key, t in adapter_tensors(model, adapter).items()}
    config: dict[str, Any] = dict(model.peft_config[adapter].to_dict()) | {"inference_mode": True}
    config["target_modules"] = sorted(config["target_modules"])
    config["peft_type"] = str(getattr(config["peft_type"], "value", config["peft_type"]))

    def fill(place: Path) -> None:
        (place / WEIGHTS).write_bytes(save(tensors, metadata={"format": "pt"}))
        (place / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True, default=sorted))
        (place / README).write_text(readme(base, card or {}), encoding="utf-8")
        said = {**(card or {}), "base": base.to_dict(), "format": FORMATS["a card"]}
        (place / CARD).write_text(json.dumps(said, indent=2, sort_keys=True))
        for each in () if source_task is None else (MANIFEST, *LIMITS):
            assert source_task is not None
            if f"{SOURCE_TASK}/{each}" in LIMITS and (source_task / each).is_file():
                (place / SOURCE_TASK / each).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source_task / each, place / SOURCE_TASK / each)

    commit_dir(Path(folder), fill)


def load_adapter(
    model: nn.Module, folder: str | Path, *, base: BaseIdentity | None = None, merged: bool = False
) -> PeftModel:
    """Put a saved adapter on a pretrained base, merging its stage 1 into the base first.

    >>> from transformers import AutoModelForSequenceClassification
    >>> base = AutoModelForSequenceClassification.from_pretrained("base", num_labels=2)
    >>> model = crossflare.load_adapter(base, "runs/reviews/adapters/flare-sw-seed0")
    >>> model.active_adapter
    'default'

    Args:
        model: The pretrained base model with a fresh head.
        folder: The folder that `save_adapter` wrote.
        base: `identify(model)`, if it is already known.
        merged: Whether the base already holds the adapter's stage 1, as a quantised base must.

    Raises:
        UserError: The folder is incomplete or changed, the configuration is not accepted, tensors are missing,
            unexpected, misshapen or not finite, or the base is another one (the message names both). The model is
            unchanged.
    """
    folder = Path(folder)
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
        return _attach(_merged(model, before), opened.config, tensors).eval()


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


def _check_saved_whole(model: PeftModel, adapter: str) -> None:
    """Refuse to save what `load_adapter` would refuse: whole modules of the base, trained with the adapter."""
    base: Any = model.get_base_model()
    wrapped = [
        name
        for name, module in base.named_modules()
        if isinstance(module, AuxiliaryTrainingWrapper) and adapter in getattr(module, "modules_to_save", {})
    ]
    for name in outside_of_heads(base, wrapped):
        raise UserError(
            f"adapter '{adapter}' trains {name} whole (modules_to_save), which belongs to the base, and load_adapter "
            "would refuse it; save it with model.save_pretrained, or train the head alone"
        )


def _attach(model: nn.Module, config: LoraConfig, tensors: dict[str, Tensor]) -> PeftModel:
    wrapped = get_peft_model(model, config)
    set_peft_model_state_dict(wrapped, tensors)
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
