"""The mixing block of X-Mixup, added to a transformers model by hooks; the equation is in `mixture`.

Source and target are read separately with the same weights, adapters included, with gradients through both. In one
block the source's states are mixed into the target's. A decoder mixes the tokens of the prompt alone: an answer's
tokens stand for nothing in the source, and read the mixed prompt. An encoder-decoder mixes in its encoder.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.utils import ModelOutput  # pyright: ignore[reportPrivateImportUsage]  # documented there

from crossflare.errors import UserError
from crossflare.fusion.attachment import Generate
from crossflare.fusion.frame import real_rows, with_stand_ins
from crossflare.fusion.generation import checked
from crossflare.fusion.identity import GATE
from crossflare.fusion.inputs import Inputs
from crossflare.libraries.attention import STYLES, Style, attention_states
from crossflare.libraries.transformers import cache_among, cached_tokens, keep_activations
from crossflare.training.forms.mixable import mixing_blocks
from crossflare.training.forms.mixture import Gate, mixed


def prepare_mixing(model: Any, layer: int = 0) -> Any:
    """Let a base model take `source_...` arguments next to its own, and mix the source into the target in one block.

    The output of a model with a head then also has the source's outputs, under the same names with the prefix
    `source_`. Logits are NaN in rows without a source; `hidden_states` are there if they are asked for. A model that
    writes takes the arguments in `generate`, too. Without a source, or in rows whose source mask is all 0, the model is
    unchanged.

    Args:
        model: An encoder like BERT, a decoder like Llama or an encoder-decoder like T5, before any adapter.
        layer: The block; X-Mixup takes 0 for classification and 15 of 24 for questions.

    Returns:
        The same model, with the gate as an additional part of its head.

    Raises:
        UserError: The model is of another kind, already has adapters or a gate, or has no such block.
    """
    style, blocks = mixing_blocks(model, "X-Mixup")
    if hasattr(model, GATE):
        raise UserError("X-Mixup: the model mixes already; prepare a fresh base")
    if not 0 <= layer < len(blocks):
        raise UserError(f"X-Mixup: expected a block from 0 to {len(blocks) - 1}, got {layer}")
    setattr(model, GATE, Gate().to(next(blocks[layer].parameters()).device))
    mixer = _Mixer(model, blocks[layer], STYLES[style], causal=style == "llama")
    if mixer.writes:
        Generate(model, "generate", writer=mixer).put()
    return model


@dataclass
class _Source:
    """The result of one forward pass over the sources."""

    output: Iterable[tuple[str, Any]]
    """The outputs of a model with a head, by name."""
    states: Tensor
    """hs' [B,S,d], for each target row."""
    mask: Tensor
    """The source mask [B,S] bool."""
    target_mask: Tensor
    """The target mask [B,T] bool; of a decoder that writes, its prompt."""
    rows: Tensor | None

    def spread(self, value: Any) -> Any:
        """Return values of the distinct sources as values for each target row."""
        if isinstance(value, tuple):
            return tuple(self.spread(each) for each in value)
        return value if self.rows is None or not isinstance(value, Tensor) else value[self.rows]

    def beside(self, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return hs', the target mask and the source mask for target states [B,T,d], which may be beams of prompts."""
        beams, width = len(states) // len(self.states), states.shape[1] - self.target_mask.shape[1]
        prompt = torch.nn.functional.pad(self.target_mask, (0, width))
        if beams == 1:
            return self.states, prompt, self.mask
        return (
            self.states.repeat_interleave(beams, 0),
            prompt.repeat_interleave(beams, 0),
            self.mask.repeat_interleave(beams, 0),
        )


class _Mixer:
    """The hooks: one takes the source's arguments and reads the source, one mixes, one adds to the output."""

    def __init__(self, model: Any, block: Any, style: Style, *, causal: bool) -> None:
        self.model, self.block, self.style, self.causal = model, block, style, causal
        self.writes = model.get_output_embeddings() is not None
        self.encoder_decoder = bool(model.config.is_encoder_decoder)
        self.reading = self.writing = self.step = False
        """Whether the source is read; whether `generate` runs; whether its call reads only what follows the prompt."""
        self.read: Tensor | None = None
        self.entered: Tensor | None = None
        """The states [B,T,d] that the block was called with."""
        self.source: _Source | None = None
        model.register_forward_pre_hook(self.before, with_kwargs=True)
        model.register_forward_hook(self.after, with_kwargs=True, always_call=True)
        if style.adds:
            block.register_forward_pre_hook(self.enter, with_kwargs=True)
        style.place(block).register_forward_hook(self.mix)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for a copy, without what belongs to a forward pass of the original."""
        return {**vars(self), "read": None, "source": None, "entered": None}

    def before(self, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Take the source's arguments out of a call, and read the source."""
        if self.writing:
            self.step = cached_tokens(cache_among(kwargs.values())) > 0
        if self.reading or self.writing:
            return args, kwargs
        # Computed again by activation checkpointing, the block could not tell source from target; keeping it is cheap.
        keep_activations(self.block)
        inputs = Inputs.take(model, args, kwargs)
        if inputs.has_source:
            inputs.check(None)
            self.source = self._read(inputs)
        return args, inputs.rest

    def generate(self, plain: Any, arguments: dict[str, Any]) -> Any:
        """Call the model's own `generate` with a source beside the prompts, which is read once."""
        inputs = Inputs.take(self.model, (), arguments)
        if not inputs.has_source:
            return plain(**inputs.rest)
        inputs = checked(inputs, self.model, self.encoder_decoder)
        inputs.check(None)
        with torch.no_grad():
            self.source = self._read(inputs)
        self.writing, self.step = True, False
        inputs.rest["disable_compile"] = True  # a graph would not ask which step it is
        try:
            return plain(**inputs.rest)
        finally:
            self.source = self.entered = None
            self.writing = self.step = False

    def _read(self, inputs: Inputs) -> _Source:
        mask, rows = inputs.source_mask, inputs.rows
        given: dict[str, Any] = inputs.source | {"attention_mask": real_rows(mask).long()}
        if self.encoder_decoder and not self.writes and "input_ids" in given:  # classifiers insist on an end token
            given |= with_stand_ins(given["input_ids"], mask, self.model.config.eos_token_id)
        asked = {name: inputs.rest[name] for name in ("output_hidden_states",) if name in inputs.rest}
        self.reading = True
        try:
            with torch.set_grad_enabled(torch.is_grad_enabled()):  # `mix` changes it
                output = self._states(given) if self.writes else self.model(**given, **asked).items()
        finally:
            self.reading = False
        states, self.read = self.read, None
        assert states is not None, "the block ran"
        spread = (states, mask) if rows is None else (states[rows], mask[rows])
        return _Source(output, *spread, inputs.target_mask, rows)

    def _states(self, given: dict[str, Any]) -> Iterable[tuple[str, Any]]:
        """Run what is below the layer that writes."""
        if self.encoder_decoder:
            self.model.get_encoder()(**given)
        else:
            getattr(self.model, self.model.base_model_prefix)(**given, use_cache=False)
        return ()

    def enter(self, block: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Keep the states that the block's attention is added to."""
        self.entered = args[0] if args else kwargs["hidden_states"]

    def mix(self, place: Any, args: Any, output: Any) -> Any:
        """Keep hs' in the source's pass; replace ht' with ht'' in the target's."""
        states, entered = attention_states(output), self.entered
        whole = states if entered is None else entered + states
        if self.reading:
            self.read = whole
            if self.writes:  # nothing above is needed
                torch.set_grad_enabled(False)
        if self.reading or self.source is None or self.step:
            return None
        source, target_mask, source_mask = self.source.beside(states)
        gate: Any = getattr(self.model, GATE)
        parts = self.style.parts(self.block)
        made, weight = mixed(parts, gate, whole, source, target_mask, source_mask, causal=self.causal)
        made = torch.where(weight > 0, made if entered is None else made - entered, states)
        made = made.to(whole.dtype)
        return (made, *output[1:]) if isinstance(output, tuple) else made

    def after(self, model: Any, args: Any, kwargs: Any, output: Any) -> Any:
        """Add the source's output to the target's, and release it."""
        if self.reading or self.writing:
            return output
        source, self.source, self.read, self.entered = self.source, None, None, None
        if source is not None and isinstance(output, ModelOutput):
            empty = ~source.mask.any(1)
            for name, value in source.output:
                given = source.spread(value)
                if name.endswith("logits"):
                    given = given.masked_fill(empty.view(-1, *[1] * (given.dim() - 1)), float("nan"))
                output[f"source_{name}"] = given
        return output
