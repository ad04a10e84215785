"""What crossflare uses of transformers beyond its documented API, and what its releases name differently."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from functools import cache
from inspect import signature
from typing import TYPE_CHECKING, Any, Literal

from packaging.version import Version

from crossflare.errors import UserError, listed
from crossflare.libraries import guard

if TYPE_CHECKING:
    from torch import nn

LIBRARY = "transformers"

# Configurations --------------------------------------------------------------------------------------------------

CONFIG = {
    "attn_logit_softcapping": "Gemma2Config",
    "hidden_size": "BertConfig",
    "layer_types": "Gemma2Config",
    "local_attention": "ModernBertConfig",
    "max_position_embeddings": "BertConfig",
    "num_attention_heads": "BertConfig",
    "num_key_value_heads": "LlamaConfig",
    "scale_decoder_outputs": "T5Config",
    "sliding_window": "Gemma2Config",
    "use_cache": "LlamaConfig",
    "use_sliding_window": "Qwen2Config",
}
"""A field that only some models have -> a configuration that has it; a renamed field is missing there, too."""


def config_value(config: Any, field: str, default: Any = None) -> Any:
    """Return a field of a model's configuration, or the default for a model that does not have it."""
    _check_field(field)
    return getattr(config, field, default)


@cache
def _check_field(field: str) -> None:
    if not hasattr(guard.name(f"transformers:{CONFIG[field]}")(), field):
        raise guard.fail(LIBRARY, f"{CONFIG[field]}.{field}")


FAULTS = {
    "umt5": ("5.18", "a whole pass of its decoder gives other logits than one with the cache: training goes wrong"),
}
"""Type of model -> the first release in which it is right, and its fault before that, without any adapter."""


def own_fault(config: Any) -> str | None:
    """Return the known fault of a base model itself in the installed release, and what to do; None: there is none."""
    found = FAULTS.get(getattr(config, "model_type", ""))
    release = guard.installed(LIBRARY)
    if found is None or release is None or Version(release) >= Version(found[0]):
        return None
    return f"{config.model_type} in {LIBRARY} {release}: {found[1]}; install {LIBRARY} {found[0]} or newer"


def check_whole(name: str, report: Mapping[str, Any]) -> None:
    """Refuse a model that is to be used as it is, and lacks weights: transformers would fill them with random numbers.

    Args:
        name: The model's name.
        report: What `from_pretrained` returns with `output_loading_info`.

    Raises:
        UserError: Its files have no weights for some of its layers.
    """
    if missing := sorted(report["missing_keys"]):
        raise UserError(
            f"{name}: its files have no weights for {listed(missing, 3, 100)}; take a whole copy of the model"
        )


def attention_of(model: Any) -> str:
    """Return the implementation of attention that a model computes with, such as `sdpa`."""
    return str(guard.part(LIBRARY, model.config, "_attn_implementation"))


# Calls -----------------------------------------------------------------------------------------------------------


def takes(model: nn.Module, argument: Literal["position_ids", "logits_to_keep"]) -> bool:
    """Return whether a base model's forward has an argument that only some models have."""
    _check_argument(argument)
    return argument in signature(model.forward).parameters


@cache
def _check_argument(argument: str) -> None:
    if argument not in signature(guard.name("transformers:LlamaForCausalLM.forward")).parameters:
        raise guard.fail(LIBRARY, f"LlamaForCausalLM.forward({argument}=...)")


def checkpoint_activations(model: Any) -> None:
    """Let a model compute activations twice rather than keep them.

    transformers 5.23 gave `gradient_checkpointing_enable` another name, and deprecates the old one.
    """
    kwargs = {"use_reentrant": False}  # if re-entrant, it finds no input that needs a gradient: embeddings are frozen
    if hasattr(model, "activation_checkpointing_enable"):
        model.activation_checkpointing_enable(activation_checkpointing_kwargs=kwargs)
    else:
        guard.part(LIBRARY, model, "gradient_checkpointing_enable")(gradient_checkpointing_kwargs=kwargs)


def keep_activations(block: Any) -> None:
    """Keep the activations of one block, so that it is never computed twice, whatever its model does."""
    guard.part(LIBRARY, block, "gradient_checkpointing")
    block.gradient_checkpointing = False


# Key-value caches --------------------------------------------------------------------------------------------------


def cache_among(values: Iterable[Any]) -> Any:
    """Return the key-value cache among the arguments of a call, found by its type; None when there is none.

    Its name is not stable: forward takes it as `past_key_values` up to 5.23, as `cache` from 5.24.
    """
    from transformers import Cache

    return next((value for value in values if isinstance(value, Cache)), None)


def cache_argument(parameters: Iterable[str]) -> str:
    """Return the name under which a model's forward takes its cache.

    Args:
        parameters: The names that forward takes.

    Raises:
        LibraryError: None of the known names is among them.
    """
    known = tuple(parameters)
    for name in ("cache", "past_key_values"):
        if name in known:
            return name
    raise guard.fail(LIBRARY, "key-value cache among the arguments of the model's forward")


def cached_tokens(cache: Any) -> int:
    """Return how many tokens a cache holds; 0 for no cache.

    Raises:
        LibraryError: The cache does not say how many.
    """
    if cache is None:
        return 0
    count = getattr(cache, "get_seq_length", None)
    if count is None:
        raise guard.fail(LIBRARY, f"{type(cache).__name__}.get_seq_length")
    return int(count())


@contextmanager
def without_cache(config: Any) -> Generator[None]:
    """Stop a model from filling a cache in every pass inside the block, since training does not use it."""
    before = config_value(config, "use_cache")
    if before is not None:
        config.use_cache = False
    try:
        yield
    finally:
        if before is not None:
            config.use_cache = before


# Activation checkpointing ------------------------------------------------------------------------------------------

CHECKPOINT = "_gradient_checkpointing_func"
"""The name of the function with which a module with activation checkpointing runs its blocks."""


def checkpointing(modules: Iterable[nn.Module]) -> list[nn.Module]:
    """Return those of the modules that checkpoint activations now.

    Raises:
        LibraryError: One of them has checkpointing switched on but no function to run its blocks with.
    """
    found = [module for module in modules if getattr(module, "gradient_checkpointing", False) is True]
    for module in found:
        if not hasattr(module, CHECKPOINT):
            raise guard.fail(LIBRARY, f"{type(module).__name__}.{CHECKPOINT}")
    return found


def with_checkpointing(model: Any, *, reentrant: bool) -> Any:
    """Switch a model's activation checkpointing on, by its name in the installed transformers; return the model."""
    own = hasattr(model, "activation_checkpointing_enable")
    enable = model.activation_checkpointing_enable if own else model.gradient_checkpointing_enable
    enable({"use_reentrant": reentrant})
    model.enable_input_require_grads()
    return model


def wrap_checkpoint(module: nn.Module, wrap: Callable[[Any], Any]) -> None:
    """Replace the function that a module runs its blocks with."""
    setattr(module, CHECKPOINT, wrap(getattr(module, CHECKPOINT)))


# The inside of encoders like BERT: see `training.forms.mixable.POST_NORM` --------------------------------------------


def check_mask_argument(block: nn.Module) -> None:
    """Refuse blocks whose second argument is not named `attention_mask`: the mask would not reach them."""
    if list(signature(block.forward).parameters)[:2] != ["hidden_states", "attention_mask"]:
        raise guard.fail(LIBRARY, f"{type(block).__name__}.forward(hidden_states, attention_mask)")


def positions_from(model: Any) -> int | None:
    """Return the padding id from which positions are counted (RoBERTa's kind); None: from 0 (BERT's kind)."""
    return guard.part(LIBRARY, model.base_model, "embeddings.position_embeddings").padding_idx


# Tokenizers ------------------------------------------------------------------------------------------------------


def marian_language(tokenizer: Any, side: Literal["source_lang", "target_lang"]) -> str | None:
    """Return the language, or group of languages, that a Marian tokenizer names for a side; None if it names none."""
    return guard.part(LIBRARY, tokenizer, side)


def marian_targets(tokenizer: Any) -> list[str]:
    """Return the tokens `>>code<<` of a Marian model with several target languages."""
    return list(guard.part(LIBRARY, tokenizer, "supported_language_codes"))


# Output on the terminal ------------------------------------------------------------------------------------------


@contextmanager
def quiet() -> Generator[None]:
    """Hide transformers' own progress bars of loading and saving, and its report of missing head weights."""
    from huggingface_hub.utils import logging as hub
    from transformers.utils import logging as transformers

    levels = transformers.get_verbosity(), hub.get_verbosity()
    bars = guard.name("transformers.utils.logging:is_progress_bar_enabled")()
    transformers.set_verbosity_error()
    hub.set_verbosity_error()
    transformers.disable_progress_bar()
    try:
        yield
    finally:
        transformers.set_verbosity(levels[0])
        hub.set_verbosity(levels[1])
        if bars:
            transformers.enable_progress_bar()
