"""The base model under the adapters, as a model of its own: the same weights, no adapters, always in eval mode.

Switching a model's adapters, heads and dropout off and on again would change what another thread, or a backward pass
that runs blocks again, sees at that moment. A view has copies of the model's modules, which share the originals' tables
of weights, buffers and hooks. So code that moves, casts or shards the weights changes the view, too, and the view
changes nothing in the model.
"""

import functools
import inspect
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput

from crossflare.errors import UserError
from crossflare.fusion.entering import Watch
from crossflare.fusion.frame import keep_input, keep_output
from crossflare.libraries.peft import without_adapters
from crossflare.libraries.torch import HOOKS, OWN_STATE, uncompiled
from crossflare.libraries.transformers import cache_among


@dataclass(eq=False)
class Replacement:
    """A callable that replaces a method of a model; a view has the model's own method."""

    module: nn.Module
    name: str
    own: Any = None
    """What the module itself had under this name; None: only the method of its class."""

    def original(self) -> Any:
        """Return the module's own method."""
        return MethodType(getattr(type(self.module), self.name), self.module) if self.own is None else self.own

    def put(self) -> None:
        """Replace the module's own method."""
        self.own = vars(self.module).get(self.name)
        setattr(self.module, self.name, self)

    def remove(self) -> None:
        """Restore the module's own method, under any name that later code (accelerate's hooks) has moved this to."""
        for name in [name for name, value in vars(self.module).items() if value is self]:
            if name == self.name and self.own is None:
                delattr(self.module, name)
            else:
                setattr(self.module, name, self.original())


Twins = dict[int, nn.Module]
"""The id of a module -> its copy in the view; for an adapter's wrapper, the copy of what it wraps."""


def base_view(model: nn.Module, blocks: Iterable[nn.Module] = (), *, live: bool = False) -> Twins:
    """Return the modules of a view of `model`.

    Args:
        model: A model with adapters.
        blocks: Modules whose copies get their own tables of hooks: a hook registered there does not run in the model.
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
    """Return an attribute of a module as its copy has it, with references to the copies of modules."""
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


@dataclass
class EncoderOutput(BaseModelOutput):
    """The output of an encoder that has run before; models with experts ask it for its routing, too."""

    router_logits: None = None


Stacks = Mapping[str, Sequence[nn.Module]]
"""The name of a list of blocks -> its blocks."""


@dataclass(frozen=True)
class Reading:
    """The results of one source pass."""

    states: dict[str, list[Tensor]]
    """The name of a list of blocks -> L+1 states [B,S,d]; none for a stack that did not run."""
    logits: Tensor | None
    final: Tensor | None
    """The encoder's output [B,S,d] of an encoder-decoder model."""


class SourceReader:
    """The base model as a reader of source texts, which records its blocks' states; for one call, or one thread."""

    def __init__(self, model: nn.Module, stacks: Stacks, *, live: bool = False, watch: Watch | None = None) -> None:
        """Make a reader of a model as it is now.

        Args:
            model: A model with its adapters.
            stacks: The stacks whose states are wanted.
            live: Leave the model's dropout as it is.
            watch: An observer of the first pass.
        """
        blocks = [block for stack in stacks.values() for block in stack]
        twins = base_view(model, [*blocks, *(watch.modules if watch else ())], live=live)
        if watch is not None:
            watch.begin(twins)
        self.options = frozenset(inspect.signature(model.forward).parameters)
        """What the model's forward takes by name."""
        self.model: Any = twins[id(model)]
        self._originals = (model, *blocks)
        self._states: dict[str, list[Tensor]] = {name: [] for name in stacks}
        self._blocks = {name: len(stack) for name, stack in stacks.items()}
        for name, stack in stacks.items():
            twins[id(stack[0])].register_forward_pre_hook(keep_input(self._states[name]), with_kwargs=True)
            for block in stack:
                twins[id(block)].register_forward_hook(keep_output(self._states[name]))

    def read(self, inputs: dict[str, Any]) -> Reading:
        """Run the model on the inputs of one batch.

        Args:
            inputs: The model's arguments. Unless they say otherwise, there is no cache, and a left-padded causal model
                gives only the last token's logits.
        """
        mask: Tensor = inputs["attention_mask"]
        options: dict[str, Any] = {}
        if "use_cache" in self.options and cache_among(inputs.values()) is None:
            options["use_cache"] = False
        writes = "logits_to_keep" in self.options and self.model.get_output_embeddings() is not None  # no classifier
        if writes and _padded_left(mask):
            options["logits_to_keep"] = 1  # the answer follows the prompt; all T x V logits are too much to keep
        with self._recorded() as states:
            output = self.model(**options | inputs)
        return Reading(states, getattr(output, "logits", None), getattr(output, "encoder_last_hidden_state", None))

    def encode(self, inputs: dict[str, Any]) -> Reading:
        """Run the encoder of an encoder-decoder model alone."""
        with self._recorded() as states:
            output = self.model.get_encoder()(**inputs, return_dict=True)
        return Reading(states, None, output.last_hidden_state)

    def read_shared(self, inputs: dict[str, Any], decoder: dict[str, Any], rows: Tensor) -> Reading:
        """Run the encoder of an encoder-decoder model once for each source, and its decoder for every target row.

        Args:
            inputs: The encoder's arguments, [U,S].
            decoder: The decoder's, [B,...].
            rows: [B]: the source that each target row reads.

        Returns:
            States of the encoder [U,S,d] and of the decoder [B,T,d].
        """
        encoded = self.encode(inputs)
        assert encoded.final is not None, "an encoder has an output"
        hidden: Any = EncoderOutput(last_hidden_state=encoded.final[rows])  # type: ignore[arg-type]
        decoded = self.read(decoder | {"encoder_outputs": hidden, "attention_mask": inputs["attention_mask"][rows]})
        states = {name: encoded.states[name] or decoded.states[name] for name in encoded.states}
        return replace(decoded, states=states, final=encoded.final)

    @contextmanager
    def _recorded(self) -> Generator[dict[str, list[Tensor]]]:
        """Yield the states of the pass that runs inside: the first block's input and every block's output.

        A stack that does not run (an encoder whose output the arguments hold) has no states.

        Raises:
            UserError: A block ran twice, or only some blocks of a stack ran; raised after the pass.
        """
        states: dict[str, list[Tensor]] = {}
        try:
            with torch.no_grad():
                yield states
            states.update({name: list(found) for name, found in self._states.items()})
        finally:
            for found in self._states.values():
                found.clear()
        for name, found in states.items():
            if len(found) not in (0, self._blocks[name] + 1):
                raise UserError(
                    f"the source pass gave {len(found)} states for {self._blocks[name]} blocks of {name}, expected one "
                    "more than blocks; this model does not run each block once and is not supported"
                )


def _padded_left(mask: Tensor) -> bool:
    """Return whether the last column of a mask [B,S] is real in every row; False in a traced graph (no values)."""
    return not torch.compiler.is_compiling() and bool(mask[:, -1].all())
