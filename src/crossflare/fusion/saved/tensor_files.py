"""Trained tensors other than adapters, on disk: a folder that is hashed and checked in full, like an adapter's.

    probe.safetensors    the regression of a probe
    model.safetensors    or all weights of a model, and config.json, so that transformers loads it, too
    crossflare.json      the base it belongs to, and what the caller adds
    manifest.json        sha256 of every file

Only the tensors and the card are read.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from crossflare.disk.files import CARD, commit_dir, open_dir, write_json
from crossflare.disk.untrusted import LARGEST, SMALL
from crossflare.disk.versions import FORMATS
from crossflare.fusion.identity import BaseIdentity
from crossflare.fusion.saved.adapter_check import EXPECTED, README, check_base, read_base, read_tensors
from crossflare.fusion.saved.readme import About, What, readme

PROBE, MODEL, SETTINGS = "probe.safetensors", "model.safetensors", "config.json"
LIMITS: dict[str, dict[str, int]] = {
    PROBE: {PROBE: LARGEST, CARD: SMALL, README: SMALL},
    MODEL: {MODEL: LARGEST, SETTINGS: SMALL, CARD: SMALL, README: SMALL},
}
"""The file of tensors -> every file that a folder with it can have, and that file's largest size in bytes."""
WHAT: dict[str, What] = {PROBE: "probe", MODEL: "model"}


@dataclass(frozen=True, slots=True)
class OpenedTensors:
    """A folder whose files are unchanged since they were saved."""

    folder: Path
    name: str
    """The name of the file of tensors."""
    card: dict[str, Any]
    base: BaseIdentity
    """The base model that the card names."""


def tensors_in(folder: Path) -> str | None:
    """Return the name of a folder's file of tensors; None for an adapter's folder, or any other."""
    return next((name for name in LIMITS if (folder / name).exists() or (folder / name).is_symlink()), None)


def check_tensor_folder(folder: Path, name: str) -> OpenedTensors:
    """Check a folder as far as no model is needed.

    Raises:
        UserError: A file is missing, changed, not in the manifest, not a regular file, or too large; or the card names
            no base model.
    """
    open_dir(folder, LIMITS[name], dict.fromkeys((name, CARD), EXPECTED))
    return OpenedTensors(folder, name, *read_base(folder))


def save_tensors(
    tensors: Mapping[str, Tensor],
    folder: Path,
    name: str,
    *,
    base: BaseIdentity,
    card: dict[str, Any],
    settings: str | None = None,
) -> None:
    """Save tensors with their card, all at once.

    Args:
        tensors: The trained tensors.
        folder: The folder to write; one that is there already is replaced once the new one is complete.
        name: The name of their file, one of `LIMITS`.
        base: The pretrained model that they belong to.
        card: JSON values to keep with them.
        settings: A model's configuration as transformers writes it; crossflare does not read it.

    Raises:
        UserError: The folder cannot be written; what was there is kept.
    """
    whole = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
    about = readme(base, card, About(WHAT[name]))

    def fill(place: Path) -> None:
        (place / name).write_bytes(save(whole, metadata={"format": "pt"}))
        (place / README).write_text(about, encoding="utf-8")
        if settings is not None:
            (place / SETTINGS).write_text(settings, encoding="utf-8")
        write_json(place / CARD, {**card, "base": base.to_dict(), "format": FORMATS["a card"]})

    commit_dir(folder, fill)


def load_tensors(opened: OpenedTensors, shapes: Mapping[str, tuple[int, ...]], base: BaseIdentity) -> dict[str, Tensor]:
    """Return exactly the tensors of these shapes, for the base that they were trained on.

    Raises:
        UserError: The base is another one; or tensors are missing, unexpected, misshapen or not finite.
    """
    check_base(opened.folder, opened.base, base)
    return read_tensors(opened.folder / opened.name, dict(shapes))
