"""Several adapters in one batch: each row goes through the adapter, and the head, that `adapter_names` names for it.

peft's LoRA layers take `adapter_names` and call each adapter with its own rows. Here are the other parts: the rows of
the source that these target rows read, and heads with different numbers of labels. The names belong to one call, so
that other threads may call the model at the same time.
"""

from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from crossflare.errors import UserError
from crossflare.fusion.calls import Calls, Mixed
from crossflare.fusion.inputs import Inputs
from crossflare.libraries.peft import AuxiliaryTrainingWrapper, LoraLayer, wrap_calls
from crossflare.libraries.threads import turn
from crossflare.libraries.torch import forward_pre_hooks, is_compiled

BASE = "__base__"
"""peft's name for rows without an adapter."""


def let_mix(tuner: Any) -> None:
    """Let plain LoRA on a model take `adapter_names` as FLARE does: in threads, and with any heads."""
    mixing = Mixing(tuner.model, Calls())

    def mixed(own: Any) -> Any:
        @contextmanager
        def enabled(*args: Any, **kwargs: Any) -> Generator[None]:
            names = kwargs.pop("adapter_names", None)
            with own(*args, **kwargs), nullcontext() if names is None else mixing.of(names, writing=True):
                yield

        return enabled

    wrap_calls(tuner, mixed)


class Mixing:
    """The hooks through which one model's layers and heads learn which adapter each row of a batch belongs to."""

    def __init__(self, model: nn.Module, calls: Calls) -> None:
        self.model, self.calls = model, calls
        self.handles: list[RemovableHandle] = []

    @contextmanager
    def of(self, names: object, *, writing: bool = False) -> Generator[None]:
        """Let the calls inside take each row through the adapter named for it.

        Args:
            names: The name of an adapter, or `__base__` for none, for each row of the batch [B].
            writing: Whether a call may have each row several times, for beams.

        Raises:
            UserError: The names are not those of adapters, or the model is in training mode or compiled as a whole.
        """
        mixed = Mixed(self._checked(names), writing)
        with turn(self):
            self._hook()
        with self.bound(mixed):
            yield

    @contextmanager
    def bound(self, mixed: Mixed) -> Generator[None]:
        """Bind the adapters to the calls inside."""
        outer = self.calls.mixed.get()
        self.calls.mixed.set(mixed)
        try:
            yield
        finally:
            self.calls.mixed.set(outer)

    def check(self, inputs: Inputs) -> None:
        """Refuse a call of the model that has not one name for each row."""
        mixed = None if torch.compiler.is_dynamo_compiling() else self.calls.mixed.get()
        if mixed is not None and not mixed.writing and (count := len(inputs.tokens)) != len(mixed.names):
            raise UserError(f"adapter_names: got {len(mixed.names)} names for {count} rows; give one for each row")

    def unhook(self) -> None:
        """Remove the hooks."""
        for handle in self.handles:
            handle.remove()
        self.handles = []

    def _checked(self, names: object) -> tuple[str, ...]:
        layers: list[Any] = [module for module in self.model.modules() if isinstance(module, LoraLayer)]
        known: set[str] = {name for layer in layers for name in layer.lora_A}
        shown = f"{', '.join(sorted(known))}, or {BASE} for none"
        if not isinstance(names, list | tuple) or not names or not all(isinstance(name, str) for name in names):
            raise UserError(f"adapter_names: expected one name for each row ({shown}), got {names!r:.100}")
        if unknown := sorted({*names} - known - {BASE}):
            raise UserError(f"adapter_names: the model carries no adapter '{unknown[0]}'; expected {shown}")
        if self.model.training:
            raise UserError("adapter_names is for predictions, but the model is in training mode; call model.eval()")
        if is_compiled(self.model):
            raise UserError("adapter_names cannot run in a model compiled as a whole; compile its blocks instead")
        return tuple(names)

    def _hook(self) -> None:
        """Put the hooks on the layers and heads that lack them."""
        for module in self.model.modules():
            if any(getattr(hook, "__self__", None) is self for hook in forward_pre_hooks(module)):
                continue
            if isinstance(module, LoraLayer):
                self.handles.append(module.register_forward_pre_hook(self._name_rows, with_kwargs=True))
            elif isinstance(module, AuxiliaryTrainingWrapper):
                self.handles.append(module.register_forward_pre_hook(self._check_head))
                self.handles.append(module.register_forward_hook(self._through_heads, with_kwargs=True))

    def _name_rows(
        self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Give a layer the names of its rows (a forward pre-hook)."""
        if torch.compiler.is_dynamo_compiling() or (mixed := self.calls.mixed.get()) is None:
            return None
        return args, kwargs | {"adapter_names": list(mixed.spread(len(args[0])))}

    def _check_head(self, head: Any, args: tuple[Any, ...]) -> None:
        """Refuse a module that is trained whole and is no head of one tensor (a forward pre-hook)."""
        mixed = None if torch.compiler.is_dynamo_compiling() else self.calls.mixed.get()
        if mixed is not None and not (args and isinstance(args[0], Tensor)):
            raise UserError(f"adapter_names: {type(head.original_module).__name__} takes no tensor; one batch each")

    def _through_heads(self, head: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        """Return each row's logits from its own head [B,...,K]; a head with fewer labels gives -inf for the rest."""
        if torch.compiler.is_dynamo_compiling() or (mixed := self.calls.mixed.get()) is None:
            return output
        own = dict(head.modules_to_save.items())
        parts = [
            (rows, own.get(name, head.original_module)(args[0][rows], *args[1:], **kwargs))
            for name, rows in mixed.rows(len(args[0])).items()
        ]
        widest = max((part for _, part in parts), key=lambda part: part.shape[-1])
        whole = widest.new_full((len(args[0]), *widest.shape[1:]), float("-inf"))
        for rows, part in parts:
            whole[rows, ..., : part.shape[-1]] = part
        return whole
