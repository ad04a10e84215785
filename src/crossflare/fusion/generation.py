"""Generation: one policy for training and decoding.

The source is read once, with the prompt. A decoder-only model's prompt fuses with it by the alignment; the answer's
tokens take phi's target-only value, or attend to the source where the alignment or phi is an attention. An
encoder-decoder model's encoder fuses once; its decoder fuses at every step with the base model's decoder that reads the
same tokens under the source. Whatever is cached, each step sees what the full pass would.
"""

import inspect
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from crossflare.errors import UserError
from crossflare.fusion.frame import Frame, Side
from crossflare.fusion.inputs import Inputs
from crossflare.fusion.released import last_step
from crossflare.fusion.source_pass import SHARED
from crossflare.fusion.sources import LatentStates, ModelStates, real_rows

if TYPE_CHECKING:
    from crossflare.fusion.tuner import FlareModel

REFUSED: dict[str, str] = {
    "assistant_model": "the assistant knows nothing of the source, and its guesses are checked in one pass",
    "prompt_lookup_num_tokens": "guesses are checked in one pass over tokens whose source states are not read yet",
    "assistant_early_exit": "the early exit's guesses are made by blocks that read another source",
    "prefill_chunk_size": "a prompt fuses with its source as a whole",
    "guidance_scale": "the second prompt of classifier-free guidance has no source",
    "negative_prompt_ids": "the second prompt of classifier-free guidance has no source",
    "custom_generate": "a decoding loop from elsewhere may call the model in an order that is not known here",
    "dola_layers": "the early layers' predictions are made of half-fused states",
    "penalty_alpha": "contrastive search runs candidates side by side, in rows that the source does not follow",
    "encoder_outputs": "the encoder must run with the source beside it; pass input_ids",
}
"""Options of `generate` under which a source would be read wrongly, and why."""
NEUTRAL = (("guidance_scale", 1), ("penalty_alpha", 0))
"""Values that switch an option off, beside None and False."""


class PairedCache(EncoderDecoderCache):
    """The key-value cache of a decoder, with that of the base decoder reading the source; beams move both alike."""

    def __init__(self) -> None:
        super().__init__(DynamicCache(), DynamicCache())
        self.source = EncoderDecoderCache(DynamicCache(), DynamicCache())

    def reorder_cache(self, beam_idx: Any) -> None:
        """Let row i go on from row `beam_idx[i]`."""
        super().reorder_cache(beam_idx)
        self.source.reorder_cache(beam_idx)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every row."""
        super().batch_repeat_interleave(repeats)
        self.source.batch_repeat_interleave(repeats)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep some rows."""
        super().batch_select_indices(indices)
        self.source.batch_select_indices(indices)

    def crop(self, tokens_to_remove: int) -> None:
        """Forget the last tokens."""
        super().crop(tokens_to_remove)
        self.source.crop(tokens_to_remove)


@dataclass
class Session:
    """One call of `generate`: the source's states, for as many rows as prompts; beams repeat them."""

    tuner: "FlareModel"
    prompt: dict[str, Side]
    """Of the stacks that read the prompt."""
    encoded: Tensor | None = None
    """The base encoder's output for the source [R,S,d], of an encoder-decoder model that reads text."""

    def frame(self, inputs: Inputs) -> Frame:
        """Return what one call of the model, made by `generate`, fuses with."""
        rows = next(iter(self.prompt.values())).fusing.shape[0]
        if not self.tuner.source_pass.encoder_decoder:
            tokens = inputs.tokens
            past = inputs.target.get("past_key_values")
            offset = 0 if past is None else int(past.get_seq_length())
            beams = tokens.shape[0] // rows
            return Frame({name: self._beams(name, beams).at(offset, tokens.shape[1]) for name in self.prompt})
        ids: Tensor = inputs.target["decoder_input_ids"]
        beams = ids.shape[0] // rows
        name = next(iter(self.prompt))
        encoder = self._beams(name, beams)
        decoder = {} if self.encoded is None else self._decoder(inputs, encoder, self.encoded, ids, beams)
        return Frame({name: encoder} | decoder)

    def _decoder(self, inputs: Inputs, encoder: Side, encoded: Tensor, ids: Tensor, beams: int) -> dict[str, Side]:
        past = inputs.target.get("past_key_values")
        shared = {name: inputs.target[name] for name in SHARED if inputs.target.get(name) is not None}
        if isinstance(past, PairedCache):
            shared |= {"past_key_values": past.source, "use_cache": True}
        hidden: Any = BaseModelOutput(last_hidden_state=encoded.repeat_interleave(beams, 0))
        mask = encoder.source.mask
        reading = self.tuner.source_pass.reader.read(
            shared | {"encoder_outputs": hidden, "attention_mask": real_rows(mask).long()}
        )
        has_source = mask.any(1, keepdim=True).expand_as(ids)
        states = {name: states for name, states in reading.states.items() if states}
        all_real = torch.ones_like(ids, dtype=torch.bool)
        return {name: Side(ModelStates(s, has_source), all_real, same=True) for name, s in states.items()}

    def _beams(self, name: str, beams: int) -> Side:
        """Return a side whose rows are repeated for `beams` beams, and keep it for the next step."""
        side = self.prompt[name]
        key = f"{name} x {beams}"
        if beams == 1:
            return side
        if key not in self._repeated:
            self._repeated[key] = _repeat(side, beams)
        return self._repeated[key]

    def __post_init__(self) -> None:
        self._repeated: dict[str, Side] = {}


def begin(tuner: "FlareModel", args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Session | None, dict[str, Any]]:
    """Read the source of a call of `generate`.

    Returns:
        The session, None when no source is given; and the arguments for the base model's own `generate`.

    Raises:
        UserError: An option under which the source would be read wrongly, or a prompt that is padded on the right.
    """
    model: Any = tuner.model
    names = list(inspect.signature(model.generate).parameters)
    given = dict(zip(names, args, strict=False)) | kwargs
    if given.get("inputs") is not None:
        given["input_ids"] = given.pop("inputs")
    inputs = Inputs.take(model, (), given)
    if inputs.rows is not None:
        raise UserError("generate reads one source row for each prompt; leave source_rows out, and repeat the rows")
    if not inputs.has_source or tuner.adapters_off:
        return None, inputs.rest
    _refuse(inputs.rest, getattr(model, "generation_config", None))
    inputs = _with_mask(inputs, model, tuner.source_pass.encoder_decoder)
    if tuner.source_pass.encoder_decoder:
        return _encode(tuner, inputs)
    sides = (
        last_step(tuner, inputs)
        if tuner.active_config.released
        else tuner.source_pass.frame(inputs, tuner.active_config).sides
    )
    return Session(tuner, sides), inputs.rest


def _encode(tuner: "FlareModel", inputs: Inputs) -> tuple[Session, dict[str, Any]]:
    """Run both encoders; the target's one fuses."""
    model: Any = tuner.model
    frame = tuner.source_pass.frame(inputs, tuner.active_config, encoder_only=True)
    tuner.slot.frame = frame
    try:
        with torch.no_grad():
            texts = {name: inputs.rest[name] for name in ("input_ids", "inputs_embeds") if name in inputs.rest}
            output = model.get_encoder()(**texts, attention_mask=inputs.rest["attention_mask"], return_dict=True)
    finally:
        tuner.slot.clear()
    side = next(iter(frame.sides.values()))
    encoded = side.source.final if isinstance(side.source, ModelStates) else None
    rest = inputs.rest | {"encoder_outputs": output}
    if rest.get("use_cache", True) and model.generation_config.use_cache is not False:
        rest["past_key_values"] = PairedCache()
    return Session(tuner, dict(frame.sides), encoded), rest


def _refuse(options: dict[str, Any], model_config: Any) -> None:
    for name, reason in REFUSED.items():
        for given in (options.get(name), getattr(options.get("generation_config") or model_config, name, None)):
            number = isinstance(given, int | float) and (name, given) in NEUTRAL
            if given is not None and given is not False and not number:
                raise UserError(f"generate with a source cannot use {name}: {reason}; leave it out")


def _with_mask(inputs: Inputs, model: Any, encoder_decoder: bool) -> Inputs:
    """Return the inputs with an explicit attention mask, as `generate` itself would guess it from the padding."""
    tokens = inputs.tokens
    mask = inputs.rest.get("attention_mask")
    if mask is None:
        pad = model.generation_config.pad_token_id
        guessed = pad is not None and "input_ids" in inputs.rest and tokens.shape[0] > 1
        mask = (
            (tokens != pad).long() if guessed else torch.ones(tokens.shape[:2], dtype=torch.long, device=tokens.device)
        )
    if not encoder_decoder and not bool(mask[:, -1].all()):
        raise UserError(
            "a decoder-only model answers after the prompt's last token, but prompts are padded on the right; set "
            "tokenizer.padding_side = 'left'"
        )
    rest = inputs.rest | {"attention_mask": mask}
    return replace(inputs, rest=rest, target=inputs.target | {"attention_mask": mask})


def _repeat(side: Side, beams: int) -> Side:
    source, mask = side.source, side.source.mask.repeat_interleave(beams, 0)
    if isinstance(source, LatentStates):
        states: Any = LatentStates(source.latents.repeat_interleave(beams, 0), mask)
    else:
        final = None if source.final is None else source.final.repeat_interleave(beams, 0)
        states = ModelStates([state.repeat_interleave(beams, 0) for state in source.states], mask, final)
    return replace(side, source=states, fusing=side.fusing.repeat_interleave(beams, 0), known={})
