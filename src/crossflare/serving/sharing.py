"""Which adapters can share a model, and how they are loaded on one."""

from collections.abc import Mapping

import torch

from crossflare import devices
from crossflare.fusion.saved.adapter_check import check_folder
from crossflare.fusion.saved.several import load_adapters, mixes_rows, stands_on
from crossflare.recipe.engines import model_place
from crossflare.serving.adapter import TrainedAdapter
from crossflare.serving.card import Saved, other_base
from crossflare.tasks.kinds import TextTask
from crossflare.training.bases.load import load_base


def alike(saved: Mapping[str, Saved]) -> list[list[str]]:
    """Return the names of adapters in groups: those in one group may share a model."""
    groups: dict[object, list[str]] = {}
    for name, each in saved.items():
        groups.setdefault(_model_of(each) or name, []).append(name)
    return list(groups.values())


def _model_of(saved: Saved) -> tuple[object, ...] | None:
    """Return all that adapters on one model have in common; None for one that needs a model of its own."""
    kind = saved.kind
    by_head = isinstance(saved.task, TextTask) and saved.answering == "head" and saved.long == "cut"
    alone = kind.joins or kind.padded or kind.mixes != "none" or kind.reads not in ("target", "both")
    if kind.learns != "adapter" or alone or not by_head or saved.base.quantise != "none":
        return None
    return (*stands_on(check_folder(saved.folder)), saved.base, saved.reading_in_training().precision)


def load_together(
    saved: Mapping[str, Saved], in_peft: Mapping[str, str], base: str | None, device: str | torch.device | None
) -> dict[str, TrainedAdapter]:
    """Load adapters on one model; none if their rows cannot be mixed there.

    Args:
        saved: Name -> adapter.
        in_peft: For the names that share the model: name -> the adapter's name in peft.
        base: See `open_adapters`.
        device: See `open_adapters`.
    """
    here = [saved[name] for name in in_peft]
    first = next((each for each in here if each.kind.fuses), here[0])
    other, where = other_base(first, base), devices.chosen(device)
    named = other or first.base
    found = load_base(
        model_place(named.name),
        first.task,
        first.answering,
        revision=named.revision,
        seed=first.card.get("seed") or 0,
        called=named.name,
        download=other is not None,
        device=where,
    )
    folders = {own: saved[name].folder for name, own in in_peft.items()}
    model = load_adapters(found.model, folders, base=found.identity)
    if not mixes_rows(model):
        return {}
    model = devices.to_device(model, where)
    return {
        name: TrainedAdapter(
            **vars(saved[name]), model=model, tokenizer=found.tokenizer, reading=saved[name].reading_in_training()
        )
        for name in in_peft
    }
