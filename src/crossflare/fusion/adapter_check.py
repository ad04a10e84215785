"""An adapter's folder, checked in full before a tensor of it or of the base model is used."""

import copy
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from crossflare.disk.files import CARD, MANIFEST, open_dir
from crossflare.disk.untrusted import LARGEST, SMALL, read_small_json
from crossflare.disk.versions import FORMATS, check_format
from crossflare.errors import UserError
from crossflare.fusion.adapter_config import SIZE_LIMIT, parse_config
from crossflare.fusion.config import FlareConfig
from crossflare.fusion.identity import BaseIdentity, head_modules
from crossflare.fusion.latents import current_name, remove_projections
from crossflare.libraries.peft import without_adapters

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
README = "README.md"
SOURCE_TASK = "source_task"
NAMES = {WEIGHTS: LARGEST, CONFIG: SIZE_LIMIT, CARD: SMALL, README: SMALL}
DEEPEST = 2
"""Most adapters that are merged one after the other: stage 1, and the one of a language that is gone through."""
INSIDE = tuple(SOURCE_TASK + f"/{SOURCE_TASK}" * depth for depth in range(DEEPEST))
"""Where an adapter's folder has those that are merged before it, the one merged last first."""
LIMITS = NAMES | {f"{place}/{name}": size for place in INSIDE for name, size in (NAMES | {MANIFEST: SMALL}).items()}
"""Every file that an adapter's folder can have -> its bytes at most."""
EXPECTED = "expected an adapter saved by crossflare (safetensors only)"
FLOATING = ("F64", "F32", "F16", "BF16")
HIGHEST = 1e6
"""No trained adapter weight comes near this; larger ones are damage or mischief."""
HEADER = 1 << 23
"""Bytes of the header of a safetensors file: a line for each tensor."""


@dataclass(frozen=True, slots=True)
class Opened:
    """An adapter's folder whose files are the ones that were saved, and of the right kinds."""

    folder: Path
    card: dict[str, Any]
    base: BaseIdentity
    """What the card says of the base."""
    config: LoraConfig
    stage1: Path | None
    """The folder of the adapter that is merged into the base before it."""
    chain: tuple[Path, ...]
    """All that are, in the order in which they are: stage 1 first."""


def check_folder(folder: Path) -> Opened:
    """Check an adapter's folder as far as that needs no model.

    Raises:
        UserError: A file is missing, changed, not named by the manifest, no regular file or too large; the card or a
            configuration is not one of an adapter.
    """
    if all((folder / name).is_file() for name in (CONFIG, WEIGHTS)) and not (folder / MANIFEST).exists():
        raise UserError(
            f"{folder}: saved by peft (save_pretrained), so nothing says which base and task it is of; open it with "
            "PeftModel.from_pretrained, and save it with crossflare.save_adapter(model, folder, base=...)"
        )
    names = open_dir(folder, LIMITS, dict.fromkeys((WEIGHTS, CONFIG, CARD), EXPECTED))
    card, base = read_base(folder)
    chain: list[Path] = []
    for place in INSIDE:
        if not any(name.startswith(f"{place}/") for name in names):
            break
        for name in (WEIGHTS, CONFIG):
            if f"{place}/{name}" not in names:
                raise UserError(f"{folder}: {place}/{name} is missing; fetch or save the folder again")
        if isinstance(parse_config(folder / place / CONFIG), FlareConfig):
            config = folder / place / CONFIG
            raise UserError(f"{config}: expected the plain LoRA of stage 1, got FLARE, which cannot be merged")
        chain.insert(0, folder / place)
    stage1 = chain[-1] if chain else None
    return Opened(folder, card, base, parse_config(folder / CONFIG), stage1, tuple(chain))


def read_base(folder: Path) -> tuple[dict[str, Any], BaseIdentity]:
    """Return a folder's card, and what it says of the base.

    A card without a format is read as one of format 1, which came before formats were written.

    Raises:
        UserError: It says nothing of it, or is of another format.
    """
    card = read_small_json(folder / CARD)
    if not isinstance(card, dict) or not isinstance(card.get("base"), dict):
        raise UserError(f"{folder / CARD}: expected an object with the key 'base'; save the adapter again")
    check_format("a card", card.get("format", FORMATS["a card"]), folder / CARD, "save the adapter again")
    said = [card["base"].get(key) for key in ("name", "digest", "hidden_size", "blocks")]
    if [type(value) for value in said] != [str, str, int, int] or any(not 0 <= size < 1 << 20 for size in said[2:]):
        raise UserError(f"{folder / CARD}: expected the base's name, digest, hidden_size and blocks, got {said!r:.200}")
    return card, BaseIdentity(*said)


def fitting_tensors(model: nn.Module, folder: Path, config: LoraConfig) -> dict[str, Tensor]:
    """Return an adapter's tensors after trying it on a copy of the base model that has shapes and no weights.

    Raises:
        UserError: The configuration does not fit the model, replaces more than its head, or the tensors are not
            exactly the ones of such an adapter, floating, finite and of sane size.
    """
    bare, config = _hollow_copy(model), copy.deepcopy(config)
    config.base_model_name_or_path = None  # peft would tell of the name that it gives
    _check_heads(bare, config, folder)
    try:
        wrapped = get_peft_model(bare, config)
    except UserError as error:
        raise UserError(f"{folder / CONFIG}: {error}") from error
    except Exception as error:  # whatever peft raises: the file is the user's, and nothing has been touched
        reason = str(error).partition("\n")[0]
        raise UserError(f"{folder / CONFIG}: does not fit {type(model).__name__} ({reason:.200})") from error
    expected = get_peft_model_state_dict(wrapped, save_embedding_layers=False)
    return read_tensors(folder / WEIGHTS, {name: tuple(tensor.shape) for name, tensor in expected.items()})


def read_tensors(path: Path, expected: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Read exactly the expected tensors: same names, same shapes, floating, finite and of sane size."""
    with _opened(path) as file:
        keys: list[str] = list(file.keys())
        names = {current_name(key): key for key in keys}
        if len(names) < len(keys):
            raise UserError(f"{path}: holds {next(iter(set(keys) - set(names.values())))!a:.200} twice")
        shapes = {name: tuple(file.get_slice(key).get_shape()) for name, key in names.items()}
        _compare(path, shapes, expected)
        return {name: _sane(path, file, key) for name, key in names.items()}


def check_tensors(path: Path, known: Callable[[str], bool]) -> None:
    """Check what can be said of tensors without a model.

    Args:
        path: A safetensors file.
        known: Whether an adapter can have a tensor of a name.

    Raises:
        UserError: The file is damaged, or a tensor has another name, is not floating, not finite or not of sane size.
    """
    with _opened(path) as file:
        keys: list[str] = list(file.keys())
        if others := [key for key in keys if not known(key)]:
            raise UserError(
                f"{path}: {others[0]!a:.200} is no adapter's tensor ({len(others)} such); it would replace weights of "
                "the base; do not use this file"
            )
        for key in keys:
            _sane(path, file, key)


@contextmanager
def _opened(path: Path) -> Generator[Any]:
    """Yield an open safetensors file; what is wrong with it becomes one line."""
    _check_header(path)
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise _damaged(path, str(error)) from error


def _sane(path: Path, file: Any, key: str) -> Tensor:
    """Return a tensor; refuse one that is not floating, or not finite."""
    if (found := file.get_slice(key).get_dtype()) not in FLOATING:
        raise UserError(f"{path}: {key} is of type {found}, expected {', '.join(FLOATING)}; save it again")
    tensor: Tensor = file.get_tensor(key)
    if not torch.isfinite(tensor).all() or (tensor.numel() and tensor.abs().max() > HIGHEST):
        raise UserError(f"{path}: {key} holds numbers that are not finite or above {HIGHEST:g}; train it again")
    return tensor


def check_base(folder: Path, expected: BaseIdentity, found: BaseIdentity) -> None:
    """Refuse another base than the adapter's; both are named.

    Raises:
        UserError: It is another one.
    """
    if expected.digest != found.digest:
        raise UserError(
            f"{folder}: the adapter was trained on {expected}, this base is {found}; load it on its own base"
        )


def outside_of_heads(model: nn.Module, names: Iterable[str]) -> list[str]:
    """Return those of a model's modules that are no part of its head."""
    heads = tuple(f"{name}." for name in head_modules(model))
    return [name for name in names if not f"{name}.".startswith(heads)]


def _hollow_copy(model: nn.Module) -> nn.Module:
    """Return a copy of a model without weights and without the adapters that it may carry."""
    weights = [*model.parameters(), *model.buffers()]
    empty = copy.deepcopy(model, {id(tensor): _hollow(tensor) for tensor in weights})
    replaced: tuple[str, ...] = ()
    for name, module in list(empty.named_modules()):
        if not name.startswith(replaced) and (below := without_adapters(module)) is not module:
            parent, _, last = name.rpartition(".")
            setattr(empty.get_submodule(parent), last, below)
            replaced += (f"{name}.",)
    remove_projections(empty)
    vars(empty).pop("peft_config", None)
    return empty


def _hollow(tensor: Tensor) -> Tensor:
    """Return a tensor without data that has the shape, type and attributes of another; quantised ones carry more."""
    empty = tensor.detach().to("meta")
    vars(empty).update(vars(tensor))
    return empty


def _check_heads(model: nn.Module, config: LoraConfig, folder: Path) -> None:
    """Refuse whole modules that are replaced outside of the head: the base reads the source with them."""
    asked = tuple(config.modules_to_save or ())
    found = (name for name, _ in model.named_modules() if name.endswith(asked))  # as peft finds them
    for name in outside_of_heads(model, found):
        raise UserError(
            f"{folder / CONFIG}: modules_to_save would replace {name}, which belongs to the base; expected only its "
            f"head ({', '.join(head_modules(model)) or 'it has none'})"
        )


def _check_header(path: Path) -> None:
    """Refuse a header that is longer than any adapter's, before it is parsed."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
    except OSError as error:
        raise _damaged(path, error.strerror or str(error)) from error
    if length > HEADER:
        raise _damaged(path, f"its header is to have {length} bytes, expected at most {HEADER}")


def _damaged(path: Path, reason: str) -> UserError:
    return UserError(f"{path}: expected a whole safetensors file, but it is damaged ({reason:.200}); fetch it again")


def _compare(path: Path, found: dict[str, tuple[int, ...]], expected: dict[str, tuple[int, ...]]) -> None:
    problems = [f"missing {key}" for key in expected.keys() - found.keys()]
    problems += [f"unexpected {key:.200}" for key in found.keys() - expected.keys()]
    problems += [
        f"{key} is {list(found[key])}, expected {list(shape)}"
        for key, shape in expected.items()
        if key in found and found[key] != shape
    ]
    if problems:
        shown = "; ".join(sorted(problems)[:3]) + (f"; and {len(problems) - 3} more" if len(problems) > 3 else "")
        raise UserError(f"{path}: the tensors do not fit this base model and configuration: {shown}")
