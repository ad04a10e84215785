"""Bases in 4 or 8 bits (bitsandbytes): loading them and preparing them for adapters."""

import logging
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from peft import prepare_model_for_kbit_training
from torch import nn

from crossflare.disk.files import commit_dir
from crossflare.errors import UserError, choose
from crossflare.fusion.identity import head_modules
from crossflare.libraries.torch import is_quantised, keep_differentiable
from crossflare.training.loop.checkpoints import tied_weights
from crossflare.training.loop.memory import resolve

Quantisation = Literal["none", "nf4", "nf4-single", "int8"]


def quantised_options(quantise: Quantisation, auto_class: Any, config: Any, device: torch.device) -> dict[str, Any]:
    """Return the arguments of `from_pretrained` that load a quantised base; empty for "none".

    The head, and modules that share its weights, stay in full precision: heads are trained, and a new one is random.

    Args:
        quantise: "nf4" (4 bits, with quantised scales), "nf4-single" (4 bits, scales in float32), "int8", or "none".
        auto_class: The transformers class that will load the base, such as `AutoModelForCausalLM`.
        config: The model's configuration.
        device: The device that the model will run on; it decides the 4-bit layers' number format.

    Raises:
        UserError: The name is unknown, bitsandbytes is missing, or the model cannot be quantised.
    """
    if choose("quantise", quantise, get_args(Quantisation)) == "none":
        return {}
    check_installed(quantise)
    from transformers import BitsAndBytesConfig

    kept = _kept_modules(quantise, auto_class, config)
    if quantise == "int8":
        options = BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=kept)
    else:
        options = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=quantise == "nf4",
            bnb_4bit_compute_dtype=torch.bfloat16 if resolve("auto", device) == "bf16" else torch.float32,
            llm_int8_skip_modules=kept,
        )
    return {"quantization_config": options, "device_map": {"": str(device)}, "dtype": torch.float32}


def check_installed(quantise: Quantisation) -> None:
    """Raise `UserError` if a quantised base needs bitsandbytes and it is missing."""
    if quantise != "none" and find_spec("bitsandbytes") is None:
        raise UserError(
            f'quantise {quantise}: bitsandbytes is not installed; run pip install "crossflare[quant]", '
            "or set quantise to none"
        )


def prepare_quantised(model: Any) -> int:
    """Prepare a quantised base for adapters, in place, and return its number of quantised layers.

    Parameters that are not quantised become float32, the base is frozen, and its 4-bit layers stay differentiable.
    Activation checkpointing stays as it is: the caller decides it.

    Raises:
        UserError: No layer of the model is quantised.
    """
    prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    count = sum(1 for module in model.modules() if is_quantised(module))
    if not count:
        raise UserError(f"{type(model).__name__}: no layer was quantised; set quantise to none for this model")
    keep_differentiable(model)
    return count


def quantise_model(
    model: Any, auto_class: Any, quantise: Quantisation, device: torch.device, merge: Callable[[Any], Any] | None = None
) -> Any:
    """Quantise a model that was loaded in full precision, and return it ready for adapters.

    Args:
        model: The model, in main memory.
        auto_class: The transformers class that loaded it.
        quantise: "nf4", "nf4-single" or "int8".
        device: The device that it will run on.
        merge: Merges an earlier adapter into the model's weights before they are quantised. Weights in 4 bits could not
            take it: the steps between their values are larger than most changes of an adapter.

    Raises:
        UserError: See `quantised_options`.
    """
    options = quantised_options(quantise, auto_class, model.config, device)
    whole = merge(model) if merge else model

    def fill(place: Path) -> None:
        whole.save_pretrained(place)

    with tempfile.TemporaryDirectory() as above:
        folder = Path(above) / "model"
        commit_dir(folder, fill)
        made = auto_class.from_pretrained(folder, use_safetensors=True, trust_remote_code=False, **options)
    prepare_quantised(made)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # int8 layers log a note at each call
    return made


def _kept_modules(quantise: Quantisation, auto_class: Any, config: Any) -> list[str]:
    """Return the modules that stay in full precision; they are found on a model without weights."""
    stored = config.to_dict().get("quantization_config")  # only models with quantised files have it
    if stored is not None:
        raise UserError(
            f"quantise {quantise}: this model's files are quantised already ({stored['quant_method']}); "
            "set quantise to none, or take the model in full precision"
        )
    with torch.device("meta"):
        empty = auto_class.from_config(config, trust_remote_code=False)
    output = empty.get_output_embeddings()
    kept = {*head_modules(empty), *(name for name, module in empty.named_modules() if module is output)}
    linear = [
        name
        for name, module in empty.named_modules()
        if isinstance(module, nn.Linear) and not name.startswith(tuple(kept))
    ]
    if not linear:
        raise UserError(
            f"quantise {quantise}: {type(empty).__name__} has no linear layers that bitsandbytes can quantise; "
            "set quantise to none"
        )
    return sorted(kept | {name.rpartition(".")[0] for name in tied_weights(empty)})
