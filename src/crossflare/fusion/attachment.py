"""What FLARE adds to a model besides its layers: hooks that read the source, `generate`, and forward's signature.

A model has one attachment, however many adapters it carries and whichever way they were added.
"""

import inspect
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle
from transformers.utils import ModelOutput  # pyright: ignore[reportPrivateImportUsage]  # documented there

from crossflare.errors import UserError
from crossflare.fusion import released
from crossflare.fusion.blocks import Site
from crossflare.fusion.calls import Calls, Carrying, Local
from crossflare.fusion.config import FlareConfig
from crossflare.fusion.frame import Frame
from crossflare.fusion.generation import Session, begin, refuse_filled
from crossflare.fusion.inputs import ADDED, Inputs
from crossflare.fusion.mixing import Mixing
from crossflare.fusion.reading import Replacement
from crossflare.fusion.source_pass import SourcePass
from crossflare.fusion.variant import warn_of_overflow
from crossflare.libraries.guard import warn_once
from crossflare.libraries.peft import LoraLayer
from crossflare.libraries.torch import forward_pre_hooks
from crossflare.libraries.transformers import checkpointing, wrap_checkpoint


class Attachment:
    """The hooks of one model that carries FLARE adapters."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.calls = Calls()
        self.mixing = Mixing(model, self.calls)
        self.session: Local[Session] = Local()
        """The current call of `generate`."""
        self.configs: dict[str, FlareConfig] = {}
        """The configuration of every FLARE adapter that was put on the model."""
        self.sites: dict[str, Site] = {}
        self.hooks: list[RemovableHandle] = []
        self.replaced: list[Replacement] = []

    @classmethod
    def of(cls, model: nn.Module) -> "Attachment | None":
        """Return the attachment of a model; None if it has none."""
        owners = (getattr(hook, "__self__", None) for hook in forward_pre_hooks(model))
        return next((owner for owner in owners if isinstance(owner, cls) and owner.model is model), None)

    def add(self, adapter: str, config: FlareConfig, sites: Iterable[Site]) -> None:
        """Register an adapter; put the hooks on the model with the first one."""
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
        self.replaced = [Forward(self.model, "forward", calls=self.calls)]
        if callable(getattr(self.model, "generate", None)):
            self.replaced.append(Generate(self.model, "generate", writer=self))
        for each in self.replaced:
            each.put()

    def detach(self) -> None:
        """Restore the model as it was."""
        for hook in self.hooks:
            hook.remove()
        self.hooks = []
        self.mixing.unhook()
        for each in self.replaced:
            each.remove()
        for module in checkpointing(self.model.modules()):
            wrap_checkpoint(module, lambda function: function.plain if isinstance(function, Carrying) else function)

    @property
    def active(self) -> FlareConfig | None:
        """The configuration of the active FLARE adapters; None if none is active or adapters are off.

        Raises:
            UserError: Two active adapters read the source in different ways.
        """
        layer: Any = next((module for module in self.model.modules() if isinstance(module, LoraLayer)), None)
        if layer is None or layer.disable_adapters:
            return None
        mixed = None if torch.compiler.is_dynamo_compiling() else self.calls.mixed.get()
        active = layer.active_adapters if mixed is None else dict.fromkeys(mixed.names)
        names = [name for name in active if name in self.configs and name in layer.scaling]
        check_alike({name: self.configs[name] for name in names})
        config = self.configs[names[0]] if names else None
        return None if config is not None and config.released and released.is_off(self.model) else config

    def generate(self, plain: Any, arguments: dict[str, Any]) -> Any:
        """Call the model's own `generate`, with a source or without (see `generation`).

        Args:
            plain: The model's own `generate`.
            arguments: Its arguments, by name.

        Raises:
            UserError: With one of the options the source would be read wrongly, or a prompt is padded on the right.
        """
        warn_once()
        if (mixed := self.calls.mixed.get()) is not None and not mixed.writing:
            with self.mixing.bound(replace(mixed, writing=True)):
                return self.generate(plain, arguments)
        inputs = Inputs.take(self.model, (), arguments)
        config = self.active
        session, rest = None, inputs.rest
        if inputs.has_source and config is not None:
            session, rest = begin(self.source_pass, self.calls, config, inputs)
        outer = self.session.get()
        self.session.set(session)
        try:
            return plain(**rest)
        finally:
            self.session.set(outer)

    def _before(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Remove the source's arguments from a call of the model, read the source, and bind its states to the call."""
        if model is not self.model:  # the base model that reads the source, under these adapters
            return args, kwargs
        self.calls.begin()
        try:
            inputs = Inputs.take(model, args, kwargs)
            self.mixing.check(inputs)
            if torch.is_grad_enabled() and not torch.compiler.is_dynamo_compiling():
                self._carry(inputs.rest)
            self.calls.open(self._frame(inputs))
        except KeyboardInterrupt:  # after it, torch does not call the other hook
            self.calls.close()
            raise
        return args, inputs.rest

    def _frame(self, inputs: Inputs) -> Frame | None:
        """Read the source with the base model; None for a call without one."""
        traced = torch.compiler.is_dynamo_compiling()
        session = None if traced or inputs.has_source else self.session.get()  # a call with a source is no step
        config = self.active if inputs.has_source or session is not None else None
        if config is None:
            return None
        if session is not None:
            return session.frame(inputs)
        refuse_filled(inputs)
        return self.source_pass.frame(inputs, config)

    def _carry(self, arguments: dict[str, Any]) -> None:
        """Let activation checkpointing carry this call's frame to the code that it runs again."""
        for module in checkpointing(self.model.modules()):
            wrap_checkpoint(module, lambda function: function if isinstance(function, Carrying) else Carrying(function))
        if (given := arguments.get("inputs_embeds")) is not None:
            arguments["inputs_embeds"] = given.view_as(given)  # this call's own tensor: the call is noted on it

    def _after(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        """Add `source_logits` to the output, as an attribute, and release the source's states."""
        if model is not self.model:
            return output
        frame = self.calls.frame
        self.calls.close()
        if frame is not None and frame.logits is not None and isinstance(output, ModelOutput):
            # Not as a key: code that walks through the keys, as Trainer's predictions, expects the model's own.
            object.__setattr__(output, "source_logits", frame.logits)
        if not torch.compiler.is_dynamo_compiling() and self.calls.mixed.get() is None:
            warn_of_overflow(output)  # not in a batch that mixes heads, some of whose logits are -inf
        return output


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


@dataclass(eq=False)
class Forward(Replacement):
    """The model's forward, with a signature that names the source's arguments, too.

    transformers' Trainer drops the columns of a data set that the signature does not name.
    """

    calls: Calls = field(kw_only=True)

    def put(self) -> None:
        """Replace the model's own forward."""
        signature = inspect.signature(self.module.forward)
        kind = inspect.Parameter.KEYWORD_ONLY
        own = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
        rest = [each for each in signature.parameters.values() if each.kind is inspect.Parameter.VAR_KEYWORD]
        added = [inspect.Parameter(name, kind, default=None) for name in ADDED if name not in signature.parameters]
        self.__signature__ = inspect.Signature([*own, *added, *rest])
        super().put()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the model's own forward."""
        if self.own is None and torch.compiler.is_dynamo_compiling():
            return type(self.module).forward(self.module, *args, **kwargs)
        try:
            return self.original()(*args, **kwargs)
        except KeyboardInterrupt:  # after it, torch does not call the hook that ends the call
            self.calls.close()
            raise


class Writer(Protocol):
    """What calls a model's own `generate` with a source beside the prompts, such as an `Attachment`."""

    def generate(self, plain: Any, arguments: dict[str, Any]) -> Any:
        """Call `plain`, the model's own `generate`, with some of the arguments, by name."""
        ...


@dataclass(eq=False)
class Generate(Replacement):
    """The model's generate, with a source or without."""

    writer: Writer = field(kw_only=True)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Write text (see `Writer.generate`)."""
        plain = self.original()
        given = dict(zip(inspect.signature(plain).parameters, args, strict=False)) | kwargs
        if given.get("inputs") is not None:
            given["input_ids"] = given.pop("inputs")
        return self.writer.generate(plain, given)
