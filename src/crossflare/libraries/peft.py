"""Every private or experimental name of peft that crossflare relies on; its contract test names the versions."""

import os
from collections.abc import Callable
from enum import Enum
from functools import wraps
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from crossflare.libraries.guard import fail, name

# pyright: reportPrivateUsage=false

LoraModel = name("peft.tuners.lora:LoraModel")
LoraLayer = name("peft.tuners.lora.layer:LoraLayer")
LoraVariant = name("peft.tuners.lora.layer:LoraVariant")
BaseTunerLayer = name("peft.tuners.tuners_utils:BaseTunerLayer")
_cast = name("peft.tuners.lora.layer:LoraLayer._cast_input_dtype")
AuxiliaryTrainingWrapper = name("peft.utils.other:AuxiliaryTrainingWrapper")
"""The wrapper of a module that is trained whole, such as a head; it keeps the `original_module`."""

TABLES = (
    "peft.mapping:PEFT_TYPE_TO_CONFIG_MAPPING",
    "peft.mapping:PEFT_TYPE_TO_TUNER_MAPPING",
    "peft.mapping:PEFT_TYPE_TO_PREFIX_MAPPING",
)
METHODS = ("inject_adapter", "_pre_injection_hook", "_enable_peft_forward_hooks", "unload", "set_adapter")
"""Methods of `LoraModel` that FLARE overrides."""


class FlareType(str, Enum):  # noqa: UP042  # peft cuts off the class's name, which a StrEnum's text lacks
    """The type of a FLARE configuration; peft reads `.value` of its own closed enum, so this one has it, too."""

    FLARE = "FLARE"


def register(config: type, tuner: type) -> None:
    """Make peft know the FLARE method: its own `register_peft_method` takes only names of a closed enum.

    With the type in these tables `get_peft_model` and `PeftModel.from_pretrained` work; a peft that has not seen
    crossflare refuses the adapter instead of loading it as plain LoRA.

    Raises:
        LibraryError: This peft lacks a table, or a method that FLARE overrides.
    """
    for method in METHODS:
        if not callable(getattr(LoraModel, method, None)):
            raise fail("peft", f"LoraModel.{method}")
    for place, value in zip(TABLES, (config, tuner, LoraModel.prefix), strict=True):
        cast(dict[str, Any], name(place))[FlareType.FLARE.value] = value


def read_configs_by(checked: Callable[[Path, Callable[[Path], dict[str, Any]]], dict[str, Any]]) -> None:
    """Make peft read every configuration file by a function, which gets peft's own function.

    All of peft's and transformers' ways to load an adapter go through it, `hotswap_adapter`, too.

    Raises:
        LibraryError: This peft reads in another way.
    """
    mixin = name("peft.config:PeftConfigMixin")
    own = name("peft.config:PeftConfigMixin.from_json_file").__func__

    @wraps(own)
    def read(cls: type, path_json_file: str | os.PathLike[str], **kwargs: Any) -> dict[str, Any]:
        return checked(Path(path_json_file), lambda path: own(cls, str(path), **kwargs))

    mixin.from_json_file = classmethod(read)


def check_loads_by(check: Callable[[Any, Path | str, str], None]) -> None:
    """Call a function before each `PeftModel.load_adapter`, with the model, the folder or name, and the adapter.

    Raises:
        LibraryError: This peft has no such method.
    """
    model = name("peft:PeftModel")
    own = name("peft:PeftModel.load_adapter")

    @wraps(own)
    def load_adapter(self: Any, model_id: str | os.PathLike[str], adapter_name: str, *args: Any, **kwargs: Any) -> Any:
        local = Path(model_id) / (kwargs.get("subfolder") or "")
        check(self, local if local.is_dir() else str(model_id), adapter_name)
        return own(self, model_id, adapter_name, *args, **kwargs)

    model.load_adapter = load_adapter


def wrap_calls(tuner: Any, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Put a function of one's own around the context in which peft calls the model, for this model alone."""
    tuner._enable_peft_forward_hooks = wrap(tuner._enable_peft_forward_hooks)


def publish_by(push: Callable[..., str | None], write_card: Callable[[Any, Path], bool]) -> None:
    """Replace what peft and transformers upload, and the README that peft saves.

    Args:
        push: Called in place of `PeftModel.push_to_hub` with the model, the name and options; None: peft's own does it.
        write_card: Called with the model and a folder; False: peft's own README is written.

    Raises:
        LibraryError: This peft has no such method.
    """
    model = name("peft:PeftModel")
    own_push, own_card = name("peft:PeftModel.push_to_hub"), name("peft:PeftModel.create_or_update_model_card")

    @wraps(own_push)
    def push_to_hub(
        self: Any,
        repo_id: str,
        *,
        commit_message: str | None = None,
        private: bool | None = None,
        token: bool | str | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        **more: Any,
    ) -> Any:
        asked = {"private": private, "token": token, "create_pr": create_pr}
        done = push(self, repo_id, message=commit_message, branch=revision, **asked)
        if done is None:
            done = own_push(self, repo_id, commit_message=commit_message, revision=revision, **asked, **more)
        return done

    @wraps(own_card)
    def create_or_update_model_card(self: Any, output_dir: str) -> None:
        if not write_card(self, Path(output_dir)):
            own_card(self, output_dir)

    model.push_to_hub, model.create_or_update_model_card = push_to_hub, create_or_update_model_card


def is_targeted(config: Any, module: str) -> bool:
    """Return whether peft would put an adapter with this configuration on the module with this name."""
    return bool(name("peft.tuners.lora:LoraModel._check_target_module_exists")(config, module))


def all_linear(config: Any, model: nn.Module) -> Any:
    """Return the names that peft takes for `target_modules="all-linear"`; return other values unchanged."""
    return name("peft.tuners.tuners_utils:_maybe_include_all_linear_layers")(config, model).target_modules


def is_on(layer: Any, adapter: str) -> bool:
    """Return whether a LoRA layer of matrices carries an adapter."""
    return isinstance(layer, LoraLayer) and adapter in layer.lora_A


def lora_a(layer: Any, adapter: str) -> nn.Linear:
    """Return an adapter's map down to rank r."""
    return cast(nn.Linear, layer.lora_A[adapter])


def lora_variant(layer: Any, adapter: str) -> Any:
    """Return the object that computes an adapter's part in a LoRA layer; None for plain LoRA."""
    return layer.lora_variant.get(adapter)


def cast_input(layer: Any, states: Tensor, adapter: str) -> Tensor:
    """Cast states to the type of the adapter's weights, unless the user has switched that off in peft."""
    return _cast(layer, states, lora_a(layer, adapter).weight.dtype)


def add_adapter_weights(layer: Any, kind: str, adapter: str, weights: nn.Module) -> None:
    """Give an adapter's layer further trained weights, which peft then saves, moves, freezes and deletes with it.

    They are trained when the adapter's other weights are.
    """
    if not hasattr(layer, kind):
        setattr(layer, kind, nn.ModuleDict())
        layer.adapter_layer_names = (*layer.adapter_layer_names, kind)
    getattr(layer, kind)[adapter] = weights
    if adapter in getattr(layer, "lora_A", ()):
        weights.requires_grad_(lora_a(layer, adapter).weight.requires_grad)


def without_adapters(module: nn.Module) -> nn.Module:
    """Return the module below peft's wrappers: the base's own layer or head."""
    while True:
        if isinstance(module, BaseTunerLayer) and "base_layer" in module._modules:
            module = cast(nn.Module, module.get_base_layer())  # type: ignore[operator]
        elif isinstance(module, AuxiliaryTrainingWrapper):
            module = cast(nn.Module, module.original_module)
        else:
            return module
