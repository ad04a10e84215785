"""The source pass: the base model itself reads the source, without adapters, in eval mode, with no gradients."""

import inspect
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput

from crossflare.errors import UserError
from crossflare.fusion.base_view import base_view
from crossflare.fusion.sources import keep_input, keep_output
from crossflare.libraries.transformers import cache_among

Stacks = Mapping[str, Sequence[nn.Module]]
"""Name of a list of blocks -> its blocks."""


@dataclass(frozen=True)
class Reading:
    """What one source pass gave."""

    states: dict[str, list[Tensor]]
    """Name of the list of blocks -> L+1 states [B,S,d]; none for a stack that did not run."""
    logits: Tensor | None
    final: Tensor | None
    """The encoder's output [B,S,d] of an encoder-decoder model."""


class Reader:
    """The base model as a reader of source texts: records the states of its blocks. For one call, or one thread."""

    def __init__(self, model: nn.Module, stacks: Stacks, *, live: bool = False) -> None:
        """Make a reader of a model as it is now.

        Args:
            model: With its adapters.
            stacks: Whose states are wanted.
            live: Leave the model's dropout as it is.
        """
        blocks = [block for stack in stacks.values() for block in stack]
        twins = base_view(model, blocks, live=live)
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
            inputs: Its arguments; with them come no cache and, of a left-padded causal model, only the last token's
                logits, unless the inputs say otherwise.
        """
        mask: Tensor = inputs["attention_mask"]
        options: dict[str, Any] = {}
        if "use_cache" in self.options and cache_among(inputs.values()) is None:
            options["use_cache"] = False
        if "logits_to_keep" in self.options and _padded_left(mask):
            options["logits_to_keep"] = 1  # a prompt's own answer is what follows it; all T x V are too much to keep
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
            rows: [B] which source each target row reads.

        Returns:
            States of the encoder [U,S,d] and of the decoder [B,T,d].
        """
        encoded = self.encode(inputs)
        assert encoded.final is not None, "an encoder has an output"
        hidden: Any = BaseModelOutput(last_hidden_state=encoded.final[rows])  # type: ignore[arg-type]
        decoded = self.read(decoder | {"encoder_outputs": hidden, "attention_mask": inputs["attention_mask"][rows]})
        states = {name: encoded.states[name] or decoded.states[name] for name in encoded.states}
        return replace(decoded, states=states, final=encoded.final)

    @contextmanager
    def _recorded(self) -> Generator[dict[str, list[Tensor]]]:
        """Give the states of the pass that runs inside: the first block's input and every block's output.

        A stack that does not run (an encoder whose output is given) has no states.

        Raises:
            UserError: Afterwards, when a block ran twice, or only some blocks of a stack ran.
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
    """Whether the last column of a mask [B,S] is real in every row; never while a graph is traced, which has no values."""
    return not torch.compiler.is_compiling() and bool(mask[:, -1].all())
