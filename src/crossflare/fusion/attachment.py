"""What FLARE puts on a model beside its layers: the hooks that read the source, `generate`, and the signature of forward.

There is one attachment per model, whichever way and however often adapters were put on it.
"""

import inspect
from collections.abc import Iterable
from functools import wraps
from types import MethodType
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle
from transformers.utils import ModelOutput

from crossflare.errors import UserError
from crossflare.fusion import released
from crossflare.fusion.blocks import Site
from crossflare.fusion.calls import Calls
from crossflare.fusion.config import FlareConfig
from crossflare.fusion.frame import READING, Frame
from crossflare.fusion.generation import Session, begin, refuse_filled
from crossflare.fusion.inputs import ADDED, Inputs
from crossflare.fusion.local import Carrying, Local
from crossflare.fusion.notices import warn_of_overflow
from crossflare.fusion.source_pass import SourcePass
from crossflare.libraries.peft import LoraLayer
from crossflare.libraries.transformers import checkpointing, wrap_checkpoint
from crossflare.libraries.untested import warn_once


class Attachment:
    """The hooks of one model that carries FLARE adapters."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.calls = Calls()
        self.session: Local[Session] = Local()
        """The call of `generate` that is going on."""
        self.configs: dict[str, FlareConfig] = {}
        """Of every FLARE adapter that was put on the model."""
        self.sites: dict[str, Site] = {}
        self.hooks: list[RemovableHandle] = []
        self.replaced: dict[str, Any] = {}
        """Attributes that the model itself had under the names that are replaced."""

    @classmethod
    def of(cls, model: nn.Module) -> "Attachment | None":
        """Return the attachment of a model; None where it has none."""
        owners = (getattr(hook, "__self__", None) for hook in model._forward_pre_hooks.values())
        return next((owner for owner in owners if isinstance(owner, cls) and owner.model is model), None)

    def add(self, adapter: str, config: FlareConfig, sites: Iterable[Site]) -> None:
        """Take note of an adapter; put the hooks on the model with the first."""
        self.configs[adapter] = config
        self.sites |= {site.name: site for site in sites}
        self.source_pass = SourcePass(self.model, list(self.sites.values()))
        if Attachment.of(self.model) is None:
            self._attach()

    def _attach(self) -> None:
        # On the model itself, not on peft's wrapper: peft's classes call either, and generate calls the model.
        self.hooks += [
            self.model.register_forward_pre_hook(self._before, with_kwargs=True),
            self.model.register_forward_hook(self._after, with_kwargs=True, always_call=True),
        ]
        for block in (block for blocks in self.source_pass.blocks.values() for block in blocks):
            self.hooks += [
                block.register_forward_pre_hook(self.calls.enter_block, with_kwargs=True),
                block.register_forward_hook(self.calls.leave_block, always_call=True),
            ]
        self._replace("forward", MethodType(_with_source_arguments(self.model.forward), self.model))
        if callable(getattr(self.model, "generate", None)):
            self._replace("generate", MethodType(_generate, self.model))

    def _replace(self, name: str, value: Any) -> None:
        if name in vars(self.model):
            self.replaced[name] = vars(self.model)[name]
        setattr(self.model, name, value)

    def detach(self) -> None:
        """Give the model back as it was."""
        for hook in self.hooks:
            hook.remove()
        self.hooks = []
        for name in {"forward", "generate"} & vars(self.model).keys():
            delattr(self.model, name)
            if name in self.replaced:
                setattr(self.model, name, self.replaced[name])
        for module in checkpointing(self.model.modules()):
            wrap_checkpoint(module, lambda function: function.plain if isinstance(function, Carrying) else function)

    @property
    def active(self) -> FlareConfig | None:
        """The rules of the active FLARE adapters; None where none is active, or adapters are off.

        Raises:
            UserError: Two are active that read the source in unlike ways.
        """
        layer: Any = next((module for module in self.model.modules() if isinstance(module, LoraLayer)), None)
        if layer is None or layer.disable_adapters:
            return None
        names = [name for name in layer.active_adapters if name in self.configs and name in layer.scaling]
        check_alike({name: self.configs[name] for name in names})
        config = self.configs[names[0]] if names else None
        return None if config is not None and config.released and released.is_off(self.model) else config

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """Call the model's own `generate`, with a source or without (see `generation`).

        Raises:
            UserError: An option under which the source would be read wrongly, or a prompt that is padded on the right.
        """
        warn_once()
        plain = self.replaced.get("generate") or _own_generate(self.model)
        given = dict(zip(inspect.signature(plain).parameters, args, strict=False)) | kwargs
        if given.get("inputs") is not None:
            given["input_ids"] = given.pop("inputs")
        inputs = Inputs.take(self.model, (), given)
        config = self.active
        if not inputs.has_source or config is None:
            return plain(**inputs.rest)
        session, rest = begin(self.source_pass, self.calls, config, inputs)
        self.session.set(session)
        try:
            return plain(**rest)
        finally:
            self.session.set(None)
            self.calls.close()

    def _before(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Take the source's arguments off a call of the model, read the source, and bind its states to the call."""
        if model is not self.model:  # the base model that reads the source, under these adapters
            return args, kwargs
        self.calls.close()
        inputs = Inputs.take(model, args, kwargs)
        if not torch.compiler.is_compiling() and torch.is_grad_enabled():
            self._carry(inputs.rest)
        self.calls.open(self._frame(inputs))
        return args, inputs.rest

    def _frame(self, inputs: Inputs) -> Frame | None:
        """Read the source with the base model; None for a call without one."""
        session = None if torch.compiler.is_compiling() else self.session.get()
        config = self.active if inputs.has_source or session is not None else None
        if config is None:
            return None
        if not torch.compiler.is_compiling():
            self.calls.open(READING)
        if session is not None:
            return session.frame(inputs)
        refuse_filled(inputs)
        return self.source_pass.frame(inputs, config)

    def _carry(self, arguments: dict[str, Any]) -> None:
        """Let activation checkpointing carry this call's frame to what it runs again."""
        for module in checkpointing(self.model.modules()):
            wrap_checkpoint(module, lambda function: function if isinstance(function, Carrying) else Carrying(function))
        if (given := arguments.get("inputs_embeds")) is not None:
            arguments["inputs_embeds"] = given.view_as(given)  # of this call alone: the call is noted on it

    def _after(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        """Add `source_logits` to the output, as an attribute, and let go of the source's states."""
        if model is not self.model:
            return output
        frame = self.calls.frame
        self.calls.close()
        if frame is not None and frame.logits is not None and isinstance(output, ModelOutput):
            # Not as a key: what walks through the keys, such as Trainer's predictions, expects the model's own.
            object.__setattr__(output, "source_logits", frame.logits)
        warn_of_overflow(output)
        return output


def _own_generate(model: nn.Module) -> Any:
    return MethodType(type(model).generate, model)  # type: ignore[attr-defined]


def _generate(model: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """Write with a source; a view of the base model, which has no attachment, writes as its class does."""
    attachment = Attachment.of(model)
    return (_own_generate(model) if attachment is None else attachment.generate)(*args, **kwargs)


def check_alike(configs: dict[str, FlareConfig]) -> None:
    """Refuse adapters that cannot be active together, since one call reads the source in one way.

    Raises:
        UserError: They differ in `mt_dim`, `source_dropout` or `released`.
    """
    for rule in ("mt_dim", "source_dropout", "released"):
        values = {name: getattr(config, rule) for name, config in configs.items()}
        if len(set(values.values())) > 1:
            shown = ", ".join(f"{name}: {value}" for name, value in values.items())
            raise UserError(f"active adapters must agree in {rule}, got {shown}; set one of them active at a time")


def _with_source_arguments(forward: Any) -> Any:
    """Return forward as a function of the model whose signature names the source's arguments, too.

    transformers' Trainer drops the columns of a data set that the signature does not name.
    """
    signature = inspect.signature(forward)

    @wraps(forward)
    def named(model: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return type(model).forward(model, *args, **kwargs) if plain else forward(*args, **kwargs)

    plain = isinstance(forward, MethodType)
    kind = inspect.Parameter.KEYWORD_ONLY
    own = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    rest = [each for each in signature.parameters.values() if each.kind is inspect.Parameter.VAR_KEYWORD]
    added = [inspect.Parameter(name, kind, default=None) for name in ADDED if name not in signature.parameters]
    self_ = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    named.__signature__ = inspect.Signature([self_, *own, *added, *rest])  # type: ignore[attr-defined]
    return named
