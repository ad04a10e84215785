"""The base model under the adapters, as a model of its own: the same weights, no adapters, always in eval mode.

Switching a model's adapters, heads and dropout off and on again would change what another thread, or a backward pass
that runs blocks again, sees at that moment. A view shares the tables of weights, buffers and hooks of the model's
modules; its modules are copies of theirs. So whatever moves, casts or shards the weights changes it, too, and it
changes nothing.
"""

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from types import MethodType
from typing import Any

from torch import nn

from crossflare.libraries.peft import without_adapters
from crossflare.libraries.torch import HOOKS, OWN_STATE, uncompiled


@dataclass(eq=False)
class Replacement:
    """A callable that stands in a model in place of the model's own; a view has the model's own."""

    module: nn.Module
    name: str
    own: Any = None
    """What the module itself had under this name; None: its class's."""

    def original(self) -> Any:
        """Return the module's own method."""
        return MethodType(getattr(type(self.module), self.name), self.module) if self.own is None else self.own

    def put(self) -> None:
        """Take the place of the module's own."""
        self.own = vars(self.module).get(self.name)
        setattr(self.module, self.name, self)

    def remove(self) -> None:
        """Give the place back, wherever what came later (accelerate's hooks) has moved this one to."""
        for name in [name for name, value in vars(self.module).items() if value is self]:
            if name == self.name and self.own is None:
                delattr(self.module, name)
            else:
                setattr(self.module, name, self.original())


Twins = dict[int, nn.Module]
"""Identity of a module -> its copy in the view; wrappers of adapters have the copy of what they wrap."""


def base_view(model: nn.Module, blocks: Iterable[nn.Module] = (), *, live: bool = False) -> Twins:
    """Return the modules of a view of `model`.

    Args:
        model: With adapters.
        blocks: Modules whose copies get tables of hooks of their own: what is registered there is not in the model.
        live: Leave the modules' modes as they are, dropout included.
    """
    twins: Twins = {}
    _copy(model, twins, live)
    for twin in {id(twin): twin for twin in twins.values()}.values():
        state = vars(twin)
        for key in state.keys() - OWN_STATE:
            state[key] = _moved(state[key], twins)
    for block in blocks:
        state = vars(twins[id(block)])
        state.update({name: state[name].copy() for name in HOOKS if name in state})
    return twins


def _copy(module: nn.Module, twins: Twins, live: bool) -> nn.Module:
    """Copy a module and all below it, once each."""
    if id(module) in twins:
        return twins[id(module)]
    plain = uncompiled(without_adapters(module))
    if plain is not module:
        twins[id(module)] = _copy(plain, twins, live)
        return twins[id(module)]
    twin = object.__new__(type(module))
    twins[id(module)] = twin
    state = vars(twin)
    state.update(vars(module))
    state["training"] = live and module.training
    state["_modules"] = {
        name: None if child is None else _copy(child, twins, live) for name, child in state["_modules"].items()
    }
    if "_compiled_call_impl" in state:  # compiled for the model itself
        state["_compiled_call_impl"] = None
    return twin


def _moved(value: Any, twins: Twins) -> Any:
    """Return an attribute of a module as its copy has it: what refers to modules refers to their copies."""
    if isinstance(value, nn.Module):
        return twins.get(id(value), value)
    if isinstance(value, Replacement):
        return _moved(value.original(), twins)
    if isinstance(value, MethodType) and id(value.__self__) in twins:
        return MethodType(value.__func__, twins[id(value.__self__)])
    if isinstance(value, functools.partial):  # a forward that accelerate has replaced
        moved = functools.partial(_moved(value.func, twins), *[_moved(each, twins) for each in value.args])
        moved.keywords.update({name: _moved(each, twins) for name, each in value.keywords.items()})
        return moved
    if type(value) is list:
        return [_moved(each, twins) for each in value]
    if type(value) is tuple:
        return tuple(_moved(each, twins) for each in value)
    if type(value) is dict:
        return {name: _moved(each, twins) for name, each in value.items()}
    return value
