"""Several saved adapters on one base model, so that a batch can mix them."""

from collections.abc import Mapping
from pathlib import Path

from peft import PeftModel, set_peft_model_state_dict
from torch import nn

from crossflare.disk.files import digest_file
from crossflare.errors import UserError
from crossflare.fusion.blocks import projects_positions
from crossflare.fusion.config import FlareConfig
from crossflare.fusion.heads import fit_heads, shapes_in
from crossflare.fusion.identity import BaseIdentity
from crossflare.fusion.mixing import BASE, let_mix
from crossflare.fusion.saved.adapter_check import CONFIG, WEIGHTS, Opened, check_folder, fitting_tensors
from crossflare.fusion.saved.adapter_files import load_adapter, unchanged_on_failure
from crossflare.fusion.saved.hub import folder_of
from crossflare.libraries.peft import LoraLayer, LoraModel


def load_adapters(
    model: nn.Module,
    folders: Mapping[str, str | Path],
    *,
    base: BaseIdentity | None = None,
    merged: bool = False,
) -> PeftModel:
    """Put saved adapters with the same base and the same stage 1 on one model; a batch may mix them.

    >>> from transformers import AutoModelForSequenceClassification, AutoTokenizer
    >>> base = AutoModelForSequenceClassification.from_pretrained("base", num_labels=2)
    >>> folder = "runs/reviews/adapters/flare-sw-seed0"
    >>> model = crossflare.load_adapters(base, {"first": folder, "second": folder})
    >>> inputs = AutoTokenizer.from_pretrained("base")(["filamu mbaya", "hadithi nzuri"], return_tensors="pt")
    >>> model(**inputs, adapter_names=["first", "second"]).logits.shape
    torch.Size([2, 2])

    Args:
        model: The pretrained base model with a fresh head.
        folders: A name for each adapter -> its folder or its name on the hub, as `load_adapter` takes it. With
            `adapter_names` a call of the model gives one of these names for each row. Heads may have different numbers
            of labels: the logits are as wide as the widest head of the batch, and -inf where a row's own has fewer.
        base: `identify(model)`, if it is already known.
        merged: Whether the base already holds the adapters' stage 1.

    Raises:
        UserError: A folder is not accepted (see `load_adapter`), a name is not allowed, or the adapters have another
            base or stage 1 than each other. The model is unchanged.
    """
    opened = {_checked(name): check_folder(folder_of(folder)) for name, folder in folders.items()}
    if not opened:
        raise UserError("load_adapters: expected at least one adapter, got none")
    # peft's model is of the type of its first adapter; that of FLARE carries plain LoRA, too, and not the other way.
    order = sorted(opened, key=lambda name: not isinstance(opened[name].config, FlareConfig))
    first = opened[order[0]]
    for name in order[1:]:
        _check_alike(first, opened[name])
    with unchanged_on_failure(model):
        loaded = load_adapter(model, first.folder, base=base, merged=merged, adapter=order[0])
        for name in order[1:]:
            _add(loaded, name, opened[name])
    if not isinstance(first.config, FlareConfig):
        let_mix(loaded.base_model)
    return loaded.eval()


def mixes_rows(model: PeftModel) -> bool:
    """Return whether a batch may mix the adapters: not where projections read what belongs to no row (DeBERTa)."""
    blocks = {name.rpartition(".")[0] for name, each in model.named_modules() if isinstance(each, LoraLayer)}
    return not any(projects_positions(model.get_submodule(name)) for name in blocks)


def _add(model: PeftModel, name: str, opened: Opened) -> None:
    """Put one more adapter on a model."""
    bare = model.get_base_model()
    tensors = fitting_tensors(bare, opened.folder, opened.config, any_labels=True)
    kind, model.peft_type = model.peft_type, opened.config.peft_type  # pyright: ignore[reportAttributeAccessIssue]
    try:
        model.add_adapter(name, opened.config)
    finally:
        model.peft_type = kind
    fit_heads(bare, shapes_in(opened.folder / WEIGHTS), adapter=name)
    set_peft_model_state_dict(model, tensors, adapter_name=name)


def _checked(name: str) -> str:
    """Return an adapter's name, if peft can tell it from the parts of tensors' names."""
    if not name or "." in name or name == BASE or name in LoraModel.prefix or name.startswith("modules_to_save"):
        raise UserError(f"'{name}' cannot be an adapter's name in peft; take one such as 'adapter-{name or 1}'")
    return name


def _check_alike(one: Opened, other: Opened) -> None:
    if stands_on(one) == stands_on(other):
        return
    if one.base.digest != other.base.digest:
        raise UserError(
            f"{other.folder}: the adapter was trained on {other.base}, {one.folder} on {one.base}; load each on its own"
        )
    raise UserError(
        f"{other.folder}: its stage 1 is not that of {one.folder}; a model holds one stage 1: load each on its own"
    )


def stands_on(opened: Opened) -> tuple[str, ...]:
    """Return the digests of an adapter's base and of all that is merged into it."""
    return (opened.base.digest, *(digest_file(folder / name) for folder in opened.chain for name in (CONFIG, WEIGHTS)))
