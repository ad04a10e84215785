"""Every private or experimental name of peft that crossflare relies on; its contract test names the versions."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from peft import mapping
from peft.tuners.lora import LoraModel
from peft.tuners.lora.layer import LoraLayer, LoraVariant
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import nn

__all__ = ["LoraLayer", "LoraModel", "LoraVariant", "add_adapter_weights", "originals", "register"]


def register(config: type, tuner: type) -> None:
    """Make peft know the FLARE method: its own `register_peft_method` takes only names of a closed enum.

    With the type in these tables `get_peft_model` and `PeftModel.from_pretrained` work; a peft that has not seen
    crossflare refuses the adapter instead of loading it as plain LoRA.
    """
    tables: tuple[tuple[dict[Any, Any], Any], ...] = (
        (mapping.PEFT_TYPE_TO_CONFIG_MAPPING, config),
        (mapping.PEFT_TYPE_TO_TUNER_MAPPING, tuner),
        (mapping.PEFT_TYPE_TO_PREFIX_MAPPING, LoraModel.prefix),
    )
    for table, value in tables:
        table["FLARE"] = value


def add_adapter_weights(layer: LoraLayer, kind: str, adapter: str, weights: nn.Module) -> None:
    """Give a LoRA layer further trained weights, which peft then saves, moves, freezes and deletes with lora_A."""
    if not hasattr(layer, kind):
        setattr(layer, kind, nn.ModuleDict())
        layer.adapter_layer_names = (*layer.adapter_layer_names, kind)
    getattr(layer, kind)[adapter] = weights


@contextmanager
def originals(model: nn.Module) -> Generator[None]:
    """Run modules that are trained whole (the head) with their original weights.

    Sets the flag alone: peft's own switch also changes which parameters require gradients, in the middle of a step.
    """
    wrappers = [module for module in model.modules() if isinstance(module, AuxiliaryTrainingWrapper)]
    flags = [wrapper._disable_adapters for wrapper in wrappers]
    try:
        for wrapper in wrappers:
            wrapper._disable_adapters = True
        yield
    finally:
        for wrapper, flag in zip(wrappers, flags, strict=True):
            wrapper._disable_adapters = flag
