"""Reading an `adapter_config.json` from anywhere as data: known keys, plain names, bounded sizes, nothing looked up."""

import dataclasses
import re
from pathlib import Path
from typing import Any

from peft import LoraConfig

from crossflare.errors import UserError, nearest
from crossflare.files import read_json
from crossflare.fusion.config import FlareConfig

NAME = re.compile(r"[A-Za-z0-9_.]{1,200}")
SIZE_LIMIT = 100_000
"""Bytes; a configuration is a few kilobytes."""
CLASSES: dict[str, type[LoraConfig]] = {"FLARE": FlareConfig, "LORA": LoraConfig}
NAME_LISTS = ("target_modules", "modules_to_save", "fusion_modules")
IGNORED = ("auto_mapping", "runtime_config", "megatron_core", "eva_config", "corda_config", "loftq_config")
"""Keys that name code to import or hold settings of other methods: never used, whatever they say."""


def parse_config(path: Path) -> LoraConfig:
    """Build the configuration of a FLARE or LoRA adapter.

    Raises:
        UserError: The file is too large or not an object, a key is unknown, or a value is out of its range. Names
            are taken literally: one with the signs of a regular expression is refused.
    """
    if path.stat().st_size > SIZE_LIMIT:
        raise UserError(
            f"{path}: {path.stat().st_size} bytes, expected at most {SIZE_LIMIT}; not an adapter configuration"
        )
    values = read_json(path)
    if not isinstance(values, dict) or values.get("peft_type") not in CLASSES:
        kind = values.get("peft_type") if isinstance(values, dict) else type(values).__name__
        raise UserError(f"{path}: expected an adapter of type {' or '.join(CLASSES)}, got {kind}")
    chosen = CLASSES[values["peft_type"]]
    known = {item.name for item in dataclasses.fields(chosen) if item.init}
    for key in values.keys() - known:
        raise UserError(f"{path}: unknown key '{key}'; {nearest(str(key), known)}")
    options: dict[str, Any] = {k: v for k, v in values.items() if k != "peft_type" and k not in IGNORED}
    for key in options.keys() & set(NAME_LISTS):
        options[key] = _names(path, key, options[key])
    _bounded(path, options)
    try:
        return chosen(**options)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: not a usable configuration ({error})") from error


def _names(path: Path, key: str, value: object) -> list[str] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(name, str) and NAME.fullmatch(name) for name in value):
        raise UserError(f"{path}: {key} must be a list of module names, got {str(value)[:80]!r}")
    return list(value)


def _bounded(path: Path, options: dict[str, Any]) -> None:
    rank, alpha = options.get("r"), options.get("lora_alpha")
    if isinstance(rank, bool) or not isinstance(rank, int) or not 1 <= rank <= 4096:
        raise UserError(f"{path}: r must be a whole number from 1 to 4096, got {str(rank)[:40]}")
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 < alpha <= 1e6:
        raise UserError(f"{path}: lora_alpha must be above 0 and at most 1e6, got {str(alpha)[:40]}")
    for key in ("rank_pattern", "alpha_pattern"):
        if options.get(key):
            raise UserError(
                f"{path}: {key} holds patterns, which are not accepted from files; use one r for all layers"
            )
    if options.get("base_model_name_or_path") is not None and not isinstance(options["base_model_name_or_path"], str):
        raise UserError(f"{path}: base_model_name_or_path must be text")
