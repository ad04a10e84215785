"""Reads any `adapter_config.json` as data: known keys, plain names and bounded sizes only, nothing is looked up."""

import dataclasses
from pathlib import Path
from typing import Any, cast

from peft import LoraConfig, TaskType

from crossflare.disk.untrusted import (
    Schema,
    check_values,
    either,
    flag,
    list_of,
    none,
    number,
    read_small_json,
    text,
    whole,
)
from crossflare.errors import UserError, nearest
from crossflare.fusion.config import FlareConfig

NAME, WORD = text("[A-Za-z0-9_.]{1,200}"), text("[A-Za-z0-9_]{1,100}")
SIZE_LIMIT = 100_000
"""The most bytes of a configuration, which usually has a few kilobytes."""
CLASSES: dict[str, type[LoraConfig]] = {"FLARE": FlareConfig, "LORA": LoraConfig}
IGNORED = ("peft_type", "auto_mapping", "runtime_config", "megatron_core", "init_lora_weights")
"""Keys that name code to import, or initial weights that the saved ones replace; they are never used."""


MODULES = (either(none, list_of(NAME)), "a list of module names")
_OF_A_TYPE: dict[Any, tuple[Any, str]] = {
    bool: (flag, "true or false"),
    int: (whole(0, 65536), "a whole number from 0 to 65536"),
    float: (number(-1e6, 1e6), "a number of at most 1e6"),
}
"""The values that a file may give to an option of `FlareConfig` that has no row of its own in `ALLOWED`."""
ALLOWED: Schema = {
    **{name: _OF_A_TYPE[kind] for name, kind in FlareConfig.__annotations__.items() if kind in _OF_A_TYPE},
    "r": (whole(1, 4096), "a whole number from 1 to 4096"),
    "lora_alpha": (number(1e-6, 1e6), "a number above 0 and at most 1e6"),
    "lora_dropout": (number(0, 0.999), "a number from 0 to 0.999"),
    "target_modules": MODULES,
    "exclude_modules": MODULES,
    "modules_to_save": MODULES,
    "fusion_modules": MODULES,
    "layers_to_transform": (
        either(none, whole(0, 9999), list_of(whole(0, 9999))),
        "a block's index or a list of them",
    ),
    "layers_pattern": (either(none, WORD, list_of(WORD, 8)), "a name or a list of at most 8 names"),
    "task_type": (lambda value: value in (None, *(kind.value for kind in TaskType)), "one of peft's task types"),
    "base_model_name_or_path": (either(none, text()), "text of at most 1000 signs"),
    "revision": (either(none, text()), "text of at most 1000 signs"),
    "peft_version": (either(none, text()), "text of at most 1000 signs"),
    "fan_in_fan_out": (flag, "true or false"),
    "inference_mode": (flag, "true or false"),
    "use_rslora": (flag, "true or false"),
    "lora_bias": (flag, "true or false"),
    "fusion": (NAME, "the name of a fusion function"),
    "alignment": (either(none, NAME), "the name of an alignment"),
    "lead": (whole(0, 1), "0 or 1"),
    "source_dropout": (number(0, 0.999), "a number from 0 to 0.999"),
    "mt_dim": (either(none, whole(1, 65536)), "a whole number from 1 to 65536"),
    "flare_format": (whole(1, 9999), "a whole number"),
}
"""Key -> the values that a file may give to it. Any other key of peft must have its default value."""


def parse_config(path: Path) -> LoraConfig:
    """Build the configuration of a FLARE or LoRA adapter.

    Raises:
        UserError: The file is missing, too large or not an object, a key is unknown, or a value is not one that a
            saved adapter may have. Names are taken literally: one with signs of a regular expression is refused.
    """
    values = read_small_json(path, SIZE_LIMIT)
    kind = cast(object, values.get("peft_type")) if isinstance(values, dict) else f"a {type(values).__name__}"
    if not isinstance(values, dict) or not isinstance(kind, str) or kind not in CLASSES:
        raise UserError(f"{path}: expected an adapter of type {' or '.join(CLASSES)}, got {str(kind)[:80]}")
    known = {item.name for item in dataclasses.fields(CLASSES[kind]) if item.init}
    for key in values.keys() - known:
        raise UserError(f"{path}: unknown key '{str(key)[:80]}'; {nearest(str(key)[:80], known)}")
    try:
        return CLASSES[kind](**_checked(path, values, CLASSES[kind]()))
    except UserError as error:
        raise UserError(str(error) if str(path) in str(error) else f"{path}: {error}") from error
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: not a usable configuration ({error})") from error


def _checked(path: Path, values: dict[str, Any], default: LoraConfig) -> dict[str, Any]:
    """Return the options that a file may set."""
    options: dict[str, Any] = {}
    check_values(str(path), values, ALLOWED)
    for key in sorted(values.keys() - set(IGNORED)):
        value = values[key]
        if key in ALLOWED:
            if key != "base_model_name_or_path":  # its place at training time; the card says which base it is
                options[key] = value
        elif value != getattr(default, key):
            raise UserError(f"{path}: {key} is not accepted from files, got {value!r:.80}; remove it")
    return options
