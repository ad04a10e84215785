"""The full check of an adapter's folder, before any tensor of it or of the base model is used."""

import copy
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from crossflare.disk.files import CARD, MANIFEST, open_dir
from crossflare.disk.untrusted import LARGEST, SMALL, read_small_json
from crossflare.disk.versions import FORMATS, check_format
from crossflare.errors import UserError
from crossflare.fusion.config import FlareConfig
from crossflare.fusion.heads import fit_heads, shapes_in
from crossflare.fusion.identity import BaseIdentity, head_modules
from crossflare.fusion.latents import current_name, remove_projections
from crossflare.fusion.saved.adapter_config import SIZE_LIMIT, parse_config
from crossflare.libraries.peft import AuxiliaryTrainingWrapper, without_adapters

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
README = "README.md"
SOURCE_TASK = "source_task"
NAMES = {WEIGHTS: LARGEST, CONFIG: SIZE_LIMIT, CARD: SMALL, README: SMALL}
DEEPEST = 2
"""The most adapters that are merged one after the other: stage 1, and that of a related language (`through`)."""
INSIDE = tuple(SOURCE_TASK + f"/{SOURCE_TASK}" * depth for depth in range(DEEPEST))
"""The places in an adapter's folder for the adapters that are merged before it; the one merged last comes first."""
LIMITS = NAMES | {f"{place}/{name}": size for place in INSIDE for name, size in (NAMES | {MANIFEST: SMALL}).items()}
"""Every file that an adapter's folder can have -> its largest size in bytes."""
EXPECTED = "expected an adapter saved by crossflare (safetensors only)"
FLOATING = ("F64", "F32", "F16", "BF16")
HIGHEST = 1e6
"""No trained adapter weight comes near this; larger ones are damage or mischief."""
HEADER = 1 << 23
"""The most bytes of a safetensors file's header, which has an entry for each tensor."""


@dataclass(frozen=True, slots=True)
class Opened:
    """An adapter's folder whose files are of the right kinds, and unchanged since they were saved."""

    folder: Path
    card: dict[str, Any]
    base: BaseIdentity
    """The base model that the card names."""
    config: LoraConfig
    stage1: Path | None
    """The folder of the adapter that is merged into the base just before it; None: no adapter is."""
    chain: tuple[Path, ...]
    """The folders of all adapters that are merged before it, in that order: stage 1 first."""


def check_folder(folder: Path) -> Opened:
    """Check an adapter's folder as far as no model is needed.

    Raises:
        UserError: A file is missing, changed, not in the manifest, not a regular file, or too large; or the card or a
            configuration is not an adapter's.
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
    """Return a folder's card, and the base model that it names.

    A card without a format is read as format 1, since the first cards did not name their format.

    Raises:
        UserError: The card names no base model, or has another format.
    """
    card = read_small_json(folder / CARD)
    if not isinstance(card, dict) or not isinstance(card.get("base"), dict):
        raise UserError(f"{folder / CARD}: expected an object with the key 'base'; save the adapter again")
    check_format("a card", card.get("format", FORMATS["a card"]), folder / CARD, "save the adapter again")
    said = [card["base"].get(key) for key in ("name", "digest", "hidden_size", "blocks")]
    if [type(value) for value in said] != [str, str, int, int] or any(not 0 <= size < 1 << 20 for size in said[2:]):
        raise UserError(f"{folder / CARD}: expected the base's name, digest, hidden_size and blocks, got {said!r:.200}")
    return card, BaseIdentity(*said)


def fitting_tensors(
    model: nn.Module, folder: Path, config: LoraConfig, *, any_labels: bool = False
) -> dict[str, Tensor]:
    """Return an adapter's tensors, after a trial on a copy of the base model that has shapes but no weights.

    Args:
        model: The base model; adapters on it are left out.
        folder: The adapter's folder.
        config: Its configuration.
        any_labels: Accept a head with another number of labels than the model's own.

    Raises:
        UserError: The configuration does not fit the model or replaces more than its head, or the tensors are not
            exactly those of such an adapter, floating, finite and of plausible size.
    """
    bare, config = _hollow_copy(model), copy.deepcopy(config)
    config.base_model_name_or_path = None  # with a name here, peft warns that it renames it
    _check_heads(bare, config, folder)
    if any_labels:
        fit_heads(bare, shapes_in(folder / WEIGHTS))
    try:
        wrapped = get_peft_model(bare, config)
    except UserError as error:
        raise UserError(f"{folder / CONFIG}: {error}") from error
    except Exception as error:  # any error of peft's: the file is the user's, and the model is unchanged
        reason = str(error).partition("\n")[0]
        raise UserError(f"{folder / CONFIG}: does not fit {type(model).__name__} ({reason:.200})") from error
    expected = get_peft_model_state_dict(wrapped, save_embedding_layers=False)
    return read_tensors(folder / WEIGHTS, {name: tuple(tensor.shape) for name, tensor in expected.items()})


def read_tensors(path: Path, expected: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Read exactly the expected tensors: same names, same shapes, floating, finite and of plausible size."""
    with _opened(path) as file:
        keys: list[str] = list(file.keys())
        names = {current_name(key): key for key in keys}
        if len(names) < len(keys):
            raise UserError(f"{path}: holds {next(iter(set(keys) - set(names.values())))!a:.200} twice")
        shapes = {name: tuple(file.get_slice(key).get_shape()) for name, key in names.items()}
        _compare(path, shapes, expected)
        return {name: _sane(path, file, key) for name, key in names.items()}


def check_tensors(path: Path, known: Callable[[str], bool]) -> None:
    """Check tensors as far as no model is needed.

    Args:
        path: A safetensors file.
        known: Returns whether an adapter can have a tensor of a name.

    Raises:
        UserError: The file is damaged, or a tensor has another name, is not floating, not finite or too large.
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
    """Yield an open safetensors file; raise an error of one line if the file is damaged."""
    _check_header(path)
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise _damaged(path, str(error)) from error


def _sane(path: Path, file: Any, key: str) -> Tensor:
    """Return a tensor; refuse one that is not floating, not finite or too large."""
    if (found := file.get_slice(key).get_dtype()) not in FLOATING:
        raise UserError(f"{path}: {key} is of type {found}, expected {', '.join(FLOATING)}; save it again")
    tensor: Tensor = file.get_tensor(key)
    if not torch.isfinite(tensor).all() or (tensor.numel() and tensor.abs().max() > HIGHEST):
        raise UserError(f"{path}: {key} holds numbers that are not finite or above {HIGHEST:g}; train it again")
    return tensor


def check_base(folder: Path, expected: BaseIdentity, found: BaseIdentity) -> None:
    """Refuse any base but the adapter's own; the message names both.

    Raises:
        UserError: The base is another one.
    """
    if expected.digest != found.digest:
        raise UserError(
            f"{folder}: the adapter was trained on {expected}, this base is {found}; load it on its own base"
        )


def check_saved_whole(model: PeftModel, adapter: str) -> None:
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


def outside_of_heads(model: nn.Module, names: Iterable[str]) -> list[str]:
    """Return the names of modules that are not part of the model's head."""
    heads = tuple(f"{name}." for name in head_modules(model))
    return [name for name in names if not f"{name}.".startswith(heads)]


def _hollow_copy(model: nn.Module) -> nn.Module:
    """Return a copy of a model without its weights, and without its adapters if it carries any."""
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
    """Return a tensor without data but with another's shape, type and attributes (quantised ones have more)."""
    empty = tensor.detach().to("meta")
    vars(empty).update(vars(tensor))
    return empty


def _check_heads(model: nn.Module, config: LoraConfig, folder: Path) -> None:
    """Refuse to replace whole modules outside of the head: the base reads the source with them."""
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
