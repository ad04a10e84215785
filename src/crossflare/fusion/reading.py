"""The source pass: the base model itself reads the source, adapters off, in eval mode, with no gradients."""

import inspect
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput

from crossflare.fusion.frame import Slot
from crossflare.fusion.peft_seams import originals
from crossflare.fusion.sources import recorded


@dataclass(frozen=True)
class Reading:
    """What one source pass gave."""

    states: dict[str, list[Tensor]]
    """Name of the list of blocks -> L+1 states [B,S,d]; none for a stack that did not run."""
    logits: Tensor | None
    final: Tensor | None
    """The encoder's output [B,S,d] of an encoder-decoder model."""


class Reader:
    """Runs the base model on source texts and records the states of its blocks."""

    def __init__(self, model: nn.Module, stacks: Mapping[str, Sequence[nn.Module]], slot: Slot) -> None:
        self.model, self.stacks, self.slot = model, stacks, slot
        self.options = frozenset(inspect.signature(model.forward).parameters)
        """What the model's forward takes by name."""

    def read(self, inputs: dict[str, Any], *, live: bool = False) -> Reading:
        """Run the model on the inputs of one batch.

        Args:
            inputs: Its arguments; with them come no cache and, of a left-padded causal model, only the last token's
                logits, unless the inputs say otherwise.
            live: Leave the model's dropout as it is.
        """
        mask: Tensor = inputs["attention_mask"]
        options: dict[str, Any] = (
            {} if "past_key_values" in inputs or "use_cache" not in self.options else {"use_cache": False}
        )
        if "logits_to_keep" in self.options and bool(mask[:, -1].all()):
            options["logits_to_keep"] = 1  # a prompt's own answer is what follows it; all T x V are too much to keep
        with self.reading(live=live), recorded(self.stacks) as states:
            output = self.model(**options | inputs)
        return Reading(states, getattr(output, "logits", None), getattr(output, "encoder_last_hidden_state", None))

    def encode(self, inputs: dict[str, Any]) -> Reading:
        """Run the encoder of an encoder-decoder model alone."""
        encoder: Any = self.model.get_encoder()  # type: ignore[operator]
        with self.reading(), recorded(self.stacks) as states:
            output = encoder(**inputs, return_dict=True)
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
        states = {name: encoded.states[name] or decoded.states[name] for name in self.stacks}
        return replace(decoded, states=states, final=encoded.final)

    @contextmanager
    def reading(self, *, live: bool = False) -> Generator[None]:
        """Turn the model into its base for a while: heads as they were, no dropout, no adapters, no gradients."""
        training = [module for module in self.model.modules() if module.training and not live]
        self.slot.reading = True
        try:
            for module in training:
                module.training = False
            with torch.no_grad(), originals(self.model):
                yield
        finally:
            self.slot.reading = False
            for module in training:
                module.training = True
