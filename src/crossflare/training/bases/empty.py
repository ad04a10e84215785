"""A base model without its weights: a recipe's demands on a model are checked in a second, before it is loaded."""

import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import AutoConfig, AutoTokenizer

from crossflare.errors import UserError
from crossflare.libraries.transformers import quiet
from crossflare.recipe.task import Answering
from crossflare.tasks.dataset import Task
from crossflare.training.bases.load import (
    SAFE,
    WRITTEN,
    check_head,
    class_for,
    head_options,
    loading,
    place_of,
    set_padding,
)
from crossflare.training.bases.quantised import Quantisation, quantised_options
from crossflare.training.forms.make import form_name
from crossflare.training.loop.checkpoints import tied_weights


def empty_base(
    name: str,
    task: Task,
    answering: Answering = "head",
    *,
    revision: str | None = None,
    quantise: Quantisation = "none",
    fetch: bool = True,
) -> tuple[Any, Any] | None:
    """Return a base model without its weights, on torch's meta device, and its tokenizer.

    It refuses what `load_base` would refuse, in the same words and without reading the weights. Only damaged weights
    are not found here.

    Args:
        name: See `load_base`.
        task: See `load_base`.
        answering: See `load_base`.
        revision: See `load_base`.
        quantise: See `load_base`.
        fetch: Whether to fetch the configuration and tokenizer of a model on the hub that is not on this machine.

    Returns:
        The model and its tokenizer; None for a model that is not on this machine and is not fetched.

    Raises:
        UserError: See `load_base`.
    """
    where, form = place_of(name), form_name(task, answering)
    hub: dict[str, Any] = {"revision": revision, "local_files_only": not fetch}
    with quiet():
        try:
            with loading(name):
                config = AutoConfig.from_pretrained(where, trust_remote_code=False, **hub, **head_options(form, task))
                tokenizer = AutoTokenizer.from_pretrained(where, trust_remote_code=False, **hub)
        except UserError:
            if fetch or Path(where).is_dir():
                raise
            return None
        auto = class_for(form, config, name)
        quantised_options(quantise, auto, config, torch.device("cpu"))
        with loading(name), torch.device("meta"):
            model = auto.from_config(config, trust_remote_code=False)
    names = _weights_in(Path(where), name)
    missing = {key for key in model.state_dict() if key not in names} - set(tied_weights(model)) if names else None
    if form == "labels" and missing is not None:
        below = {key for key in missing if key.startswith(f"{model.base_model_prefix}.")}  # bare files lack the prefix
        check_head(name, where, {"revision": revision}, model, missing - below, task.labels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the warnings come when the model is loaded
        set_padding(name, model, tokenizer, writes=form in WRITTEN)
    return model, tokenizer


def _weights_in(folder: Path, name: str) -> set[str]:
    """Return the names of the weights in a folder; empty if there is no folder."""
    names: set[str] = set()
    for path in sorted(folder.glob(f"*{SAFE}")) if folder.is_dir() else ():
        with loading(name), safe_open(path, "pt") as file:
            names.update(file.keys())
    return names
