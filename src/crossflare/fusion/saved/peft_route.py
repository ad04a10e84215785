"""What peft's own calls do with an adapter of crossflare's: `PeftModel.from_pretrained`, `push_to_hub` and the like.

All loaders read `adapter_config.json` with one function of peft, and the folder is checked there. The configuration
remembers the folder. Its tensors are compared with the model's before anything is put on the model. What
is pushed is saved whole first.
"""

import re
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftModel
from torch import nn

from crossflare.disk.files import CARD, MANIFEST, read_manifest, write_atomic
from crossflare.disk.untrusted import regular
from crossflare.errors import UserError
from crossflare.fusion.config import FlareConfig, SavedType
from crossflare.fusion.identity import BaseIdentity, identify
from crossflare.fusion.saved.adapter_check import (
    CONFIG,
    README,
    SOURCE_TASK,
    WEIGHTS,
    Opened,
    check_base,
    check_folder,
    check_tensors,
    fitting_tensors,
)
from crossflare.fusion.saved.adapter_config import SIZE_LIMIT, parse_config
from crossflare.fusion.saved.adapter_files import ORIGIN, adapter_about, read_card, save_adapter, weights_of
from crossflare.fusion.saved.hub import upload
from crossflare.fusion.saved.readme import readme
from crossflare.libraries.torch import is_quantised

FLARE = re.compile(rb'"peft_type"\s*:\s*"FLARE"')
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
TENSOR = re.compile(r"base_model\.model\.(.+\.)?lora_[A-Za-z_]+(\.[a-z_]+)*")
"""Names of an adapter's own tensors; all others belong to the modules that are saved whole."""


def read_config(path: Path, read: Any) -> dict[str, Any]:
    """Read a configuration as peft does; check a FLARE adapter's folder, too, as far as no model is needed.

    Args:
        path: The path of an `adapter_config.json`.
        read: The function that peft reads it with.

    Raises:
        UserError: It is a FLARE adapter's, and `load_adapter` would refuse the folder.
    """
    with path.open("rb") as file:
        flare = FLARE.search(file.read(2 * SIZE_LIMIT)) is not None
    if flare:
        _check(path.parent)
    values: dict[str, Any] = read(path)
    if values.get("peft_type") == "FLARE":
        if not flare:  # the file spells it in another way
            _check(path.parent)
        values.pop("megatron_core", None)
        values["peft_type"] = SavedType(path.parent)
    return values


def check_model(model: nn.Module, config: FlareConfig) -> None:
    """Compare a configuration that came from a folder, and the folder's tensors, with the model that will carry them.

    Raises:
        UserError: They do not fit, or belong to another base model.
    """
    folder, config.saved_in = config.saved_in, None
    if folder is None or not (folder / WEIGHTS).exists():
        return
    config.checked_in = folder.resolve()
    if (folder / CARD).exists() and not _in_hub_cache(folder):
        opened, found = check_folder(folder), identify(model, adapted=True)
        if opened.stage1 is None:
            check_base(folder, opened.base, found)
        elif found.digest == opened.base.digest:
            raise UserError(
                f"{folder}: its stage 1 ({SOURCE_TASK}/) must be merged into the base first, which peft does not do; "
                "load it with crossflare.load_adapter"
            )
    fitting_tensors(model, folder, config)


def check_load(model: Any, place: Path | str, adapter: str) -> None:
    """Check weights that peft is about to load into an existing FLARE adapter; peft does not check their folder.

    This happens with `PeftModel.from_pretrained(..., config=...)`, and when an adapter's weights are loaded again.

    Raises:
        UserError: `load_adapter` would refuse the folder, or it is only a name on the hub.
    """
    config = model.peft_config.get(adapter)
    if not isinstance(config, FlareConfig):
        return
    checked, config.checked_in = config.checked_in, None
    if isinstance(place, Path):
        if place.resolve() == checked:
            return
    elif checked is not None and _in_hub_cache(checked):
        return
    else:
        raise UserError(
            f"{place}: the weights of a FLARE adapter are checked in a folder; leave config= out, or fetch them first "
            "with `hf download` and give the folder"
        )
    _check(place)
    fitting_tensors(model.get_base_model(), place, config)


def _check(folder: Path) -> None:
    """Check a folder as far as no model is needed.

    Raises:
        UserError: See `read_config`.
    """
    regular(folder, CONFIG, SIZE_LIMIT)
    config = parse_config(folder / CONFIG)
    if _in_hub_cache(folder) and not (folder / WEIGHTS).exists():
        _fetch_weights(folder)
    elif (folder / CARD).exists() and not _in_hub_cache(folder):
        check_folder(folder)
    if (folder / WEIGHTS).exists() or (folder / WEIGHTS).is_symlink():
        check_tensors(regular(folder, WEIGHTS), lambda name: _is_adapters(name, config))
    elif pickles := sorted(each.name for each in folder.iterdir() if each.suffix in PICKLES):
        raise UserError(
            f"{folder}: has only pickled weights ({pickles[0]}), which can run code and are never opened: expected "
            f"{WEIGHTS}; ask its author to save it with safetensors"
        )


def _is_adapters(name: str, config: LoraConfig) -> bool:
    whole = (f".{each}." in name for each in config.modules_to_save or ())
    return TENSOR.fullmatch(name) is not None or (name.startswith("base_model.model.") and any(whole))


def _in_hub_cache(folder: Path) -> bool:
    """Return whether a folder is, or is in, a snapshot in huggingface_hub's cache, which may lack some files."""
    return any(above.parent.name == "snapshots" for above in (folder.resolve(), *folder.resolve().parents))


def _fetch_weights(folder: Path) -> None:
    """Fetch the weights that belong to a configuration in the hub's cache, which peft would fetch later."""
    from huggingface_hub import hf_hub_download

    resolved = folder.resolve()
    snapshot = next(above for above in (resolved, *resolved.parents) if above.parent.name == "snapshots")
    repository = snapshot.parents[1]
    name = "/".join(repository.name.split("--")[1:])
    inside = (resolved / WEIGHTS).relative_to(snapshot).as_posix()
    try:
        hf_hub_download(name, inside, revision=snapshot.name, cache_dir=repository.parent)
    except Exception as error:  # an error of the network, the hub or the disk
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"{name}: {inside} cannot be fetched ({reason:.200}); only safetensors are read; if it is there, fetch the "
            "whole adapter with `hf download` and load the folder"
        ) from error


OF_TRAINING = ("calibration", "training", "data", "settings")
"""What a card says of a training; it is not true any more once the adapter was trained on."""


def write_readme(model: PeftModel, folder: Path) -> bool:
    """Write the README of a folder that peft saves, unless it has one; return False for adapters that are not ours."""
    adapter = str(model.active_adapter)
    card, origin = _card_of(model, adapter), _origin(model)
    if card is None:
        return False
    if not (folder / README).exists():
        config = model.peft_config[adapter]
        name = str(config.base_model_name_or_path or type(model.get_base_model()).__name__)
        base = BaseIdentity(name, "", 0, 0) if origin is None else origin.base
        write_atomic(folder / README, readme(base, card, adapter_about(config, card)))
    return True


def push_model(model: PeftModel, name: str, **options: Any) -> str | None:
    """Save the active adapter of a model whole and push it, in place of peft's `push_to_hub`.

    Args:
        model: The model.
        name: `owner/name`.
        options: See `upload`.

    Returns:
        The commit's address; None if it is no adapter of crossflare's: peft pushes it.

    Raises:
        UserError: See `upload` and `save_adapter`; nothing says which base it is of; or the folder that it was loaded
            from is gone.
    """
    adapter = str(model.active_adapter)
    if _card_of(model, adapter) is None:
        return None
    card, origin = dict(_card_of(model, adapter) or {}), _origin(model)
    if origin is not None:
        if not (origin.folder / MANIFEST).exists() or read_card(origin.folder) != origin.card:
            raise UserError(f"{name}: {origin.folder}, which it was loaded from, is gone or another one; load it again")
        if sha256(weights_of(model, adapter)).hexdigest() != read_manifest(origin.folder)[WEIGHTS]:
            card = {key: value for key, value in card.items() if key not in OF_TRAINING}
        base = origin.base
    elif any(is_quantised(module) for module in model.modules()):
        raise UserError(
            f"{name}: its base is quantised, so that nothing says which one it is; save it with crossflare."
            "save_adapter(model, folder, base=...) and push the folder with `crossflare push`"
        )
    else:
        base = identify(model.get_base_model(), adapted=True)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "adapter"
        save_adapter(model, folder, base=base, source_task=origin and origin.stage1, card=card, adapter=adapter)
        about = replace(adapter_about(model.peft_config[adapter], card), place=name)
        return upload(name, folder, {README: readme(base, card, about)}, **options)


def _origin(model: PeftModel) -> Opened | None:
    """Return what a model was loaded from; None if `load_adapter` did not load it."""
    return vars(model).get(ORIGIN)


def _card_of(model: PeftModel, adapter: str) -> Mapping[str, Any] | None:
    """Return the card of a model's adapter, empty if it never had one; None if the adapter is not crossflare's."""
    origin = _origin(model)
    if origin is not None and adapter == "default":
        return origin.card
    return {} if isinstance(model.peft_config.get(adapter), FlareConfig) else None
