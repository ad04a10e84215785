"""Every private or experimental name of peft that crossflare relies on; its contract test names the versions."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast

from peft import mapping
from peft.tuners.lora import LoraModel
from peft.tuners.lora.layer import LoraLayer, LoraVariant
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import Tensor, nn

# pyright: reportPrivateUsage=false

__all__ = [
    "LoraLayer",
    "LoraModel",
    "LoraVariant",
    "add_adapter_weights",
    "cast_input",
    "is_targeted",
    "lora_a",
    "originals",
    "register",
]


def register(config: type, tuner: type) -> None:
    """Make peft know the FLARE method: its own `register_peft_method` takes only names of a closed enum.

    With the type in these tables `get_peft_model` and `PeftModel.from_pretrained` work; a peft that has not seen
    crossflare refuses the adapter instead of loading it as plain LoRA.
    """
    for table, value in (
        (mapping.PEFT_TYPE_TO_CONFIG_MAPPING, config),
        (mapping.PEFT_TYPE_TO_TUNER_MAPPING, tuner),
        (mapping.PEFT_TYPE_TO_PREFIX_MAPPING, LoraModel.prefix),
    ):
        cast(dict[str, Any], table)["FLARE"] = value


def is_targeted(config: Any, name: str) -> bool:
    """Whether peft would put an adapter with this configuration on the module called `name`."""
    return bool(LoraModel._check_target_module_exists(config, name))


def lora_a(layer: LoraLayer, adapter: str) -> nn.Linear:
    """Return an adapter's map down to rank r."""
    return cast(nn.Linear, layer.lora_A[adapter])


def cast_input(layer: LoraLayer, states: Tensor, adapter: str) -> Tensor:
    """Bring states to the type of the adapter's weights, unless the user has switched that off in peft."""
    return layer._cast_input_dtype(states, lora_a(layer, adapter).weight.dtype)


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
