"""The checks of a FLARE adapter's folder that peft or transformers loads, as with `PeftModel.from_pretrained`.

All loaders read `adapter_config.json` with one function of peft, and the folder is checked there. The configuration
remembers the folder. Its tensors are compared with the model's before anything is put on the model.
"""

import re
from pathlib import Path
from typing import Any

from peft import LoraConfig
from torch import nn

from crossflare.disk.files import CARD
from crossflare.disk.untrusted import regular
from crossflare.errors import UserError
from crossflare.fusion.adapter_check import (
    CONFIG,
    SOURCE_TASK,
    WEIGHTS,
    check_base,
    check_folder,
    check_tensors,
    fitting_tensors,
)
from crossflare.fusion.adapter_config import SIZE_LIMIT, parse_config
from crossflare.fusion.config import FlareConfig, SavedType
from crossflare.fusion.identity import identify

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
