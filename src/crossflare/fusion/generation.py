"""Generation: one policy for training and decoding.

The source is read once, with the prompt. A decoder-only model's prompt fuses with it by the alignment; the answer's
tokens take phi's target-only value, or attend to the source if the alignment or phi is an attention. An
encoder-decoder model's encoder fuses once. Its decoder fuses at every step with the base model's decoder, which reads
the same tokens and attends to the source. Whatever is cached, each step sees what the full pass would see.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache

from crossflare.errors import UserError
from crossflare.fusion.calls import Calls
from crossflare.fusion.config import FlareConfig
from crossflare.fusion.frame import Frame, LatentStates, ModelStates, Side, real_rows
from crossflare.fusion.inputs import Inputs
from crossflare.fusion.reading import EncoderOutput, SourceReader
from crossflare.fusion.released import last_step
from crossflare.fusion.source_pass import SHARED, SourcePass
from crossflare.libraries.torch import is_compiled
from crossflare.libraries.transformers import cache_argument, cached_tokens

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
"""Values that switch an option off, besides None and False."""


class PairedCache(EncoderDecoderCache):
    """A decoder's key-value cache, with that of the base decoder that reads the source; beams reorder both alike."""

    def __init__(self) -> None:
        super().__init__(DynamicCache(), DynamicCache())
        self.source = EncoderDecoderCache(DynamicCache(), DynamicCache())

    def reorder_cache(self, beam_idx: Any) -> None:
        """Let row i continue from row `beam_idx[i]`."""
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
    """One call of `generate`: the source's states, one row for each prompt; beams repeat them."""

    reader: SourceReader
    prompt: dict[str, Side]
    """The side of each stack that reads the prompt."""
    encoder_decoder: bool = False
    encoded: Tensor | None = None
    """The base encoder's output for the source [R,S,d], in an encoder-decoder model that reads text."""

    def frame(self, inputs: Inputs) -> Frame:
        """Return the frame of one call of the model that `generate` makes.

        Raises:
            UserError: The call has fewer columns than the prompt, and no cache that holds the others.
        """
        side = next(iter(self.prompt.values()))
        rows, prompt = side.fusing.shape
        if self.encoder_decoder:
            return self._paired(inputs, inputs.target["decoder_input_ids"], rows)
        tokens, offset = inputs.tokens, cached_tokens(inputs.cache)
        if offset == 0 and tokens.shape[1] < prompt:
            raise UserError(
                f"a step of generate has {tokens.shape[1]} columns of a prompt of {prompt}, and no key-value cache was "
                "found that holds the others; run `crossflare doctor --self-test`, and pass use_cache=False meanwhile"
            )
        beams = tokens.shape[0] // rows
        sides = {name: self._beams(name, beams).at(offset, tokens.shape[1]) for name in self.prompt}
        return Frame(sides, None, {}, set())

    def _paired(self, inputs: Inputs, ids: Tensor, rows: int) -> Frame:
        """Return the frame of a step of an encoder-decoder model, whose decoder reads tokens [B,T]."""
        beams = ids.shape[0] // rows
        name = next(iter(self.prompt))
        encoder = self._beams(name, beams)
        decoder = {} if self.encoded is None else self._decoder(inputs, encoder, self.encoded, ids, beams)
        return Frame({name: encoder} | decoder, None, {}, set())

    def _decoder(self, inputs: Inputs, encoder: Side, encoded: Tensor, ids: Tensor, beams: int) -> dict[str, Side]:
        cache = inputs.cache
        shared = {name: inputs.target[name] for name in SHARED if inputs.target.get(name) is not None}
        if isinstance(cache, PairedCache):
            shared |= {cache_argument(self.reader.options): cache.source, "use_cache": True}
        elif cached_tokens(cache) > 0:
            raise UserError(
                "a step of generate came with another key-value cache than the one it began with; run "
                "`crossflare doctor --self-test`, and pass use_cache=False meanwhile"
            )
        hidden: Any = EncoderOutput(last_hidden_state=encoded.repeat_interleave(beams, 0))
        mask = encoder.source.mask
        reading = self.reader.read(shared | {"encoder_outputs": hidden, "attention_mask": real_rows(mask).long()})
        has_source = mask.any(1, keepdim=True).expand_as(ids)
        states = {name: states for name, states in reading.states.items() if states}
        all_real = torch.ones_like(ids, dtype=torch.bool)
        return {name: Side(ModelStates(s, has_source), all_real, same=True, known={}) for name, s in states.items()}

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


def begin(source_pass: SourcePass, calls: Calls, config: FlareConfig, inputs: Inputs) -> tuple[Session, dict[str, Any]]:
    """Read the source of a call of `generate`.

    Args:
        source_pass: The model's source pass.
        calls: The model's calls.
        config: The active adapter's configuration.
        inputs: The arguments of `generate`, with a source.

    Returns:
        The session, and the arguments for the base model's own `generate`.

    Raises:
        UserError: With one of the options the source would be read wrongly, a prompt is padded on the right, or a cache
            already holds a part of the text.
    """
    model: Any = source_pass.model
    if inputs.rows is not None:
        raise UserError("generate reads one source row for each prompt; leave source_rows out, and repeat the rows")
    inputs = checked(inputs, model, source_pass.encoder_decoder)
    if is_compiled(model):
        raise UserError(
            "generate with a source cannot run a model compiled as a whole, whose graph knows no steps; compile its "
            "blocks instead (block.compile()), or pass a copy that is not compiled"
        )
    inputs.rest["disable_compile"] = True  # generate's own compilation, with a static cache, makes such a graph
    calls.begin()
    try:
        reader = source_pass.reader()
        if source_pass.encoder_decoder:
            frame = source_pass.frame(inputs, config, encoder=reader)
        elif config.released:
            return Session(reader, last_step(reader, source_pass.stacks, inputs)), inputs.rest
        else:
            return Session(reader, source_pass.frame(inputs, config).sides), inputs.rest
    finally:
        calls.close()
    return _encode(model, reader, calls, frame, inputs)


def checked(inputs: Inputs, model: Any, encoder_decoder: bool) -> Inputs:
    """Return the arguments of `generate` with an explicit mask, after checking that each step can be told from others.

    Raises:
        UserError: See `begin`.
    """
    _refuse(inputs.rest, getattr(model, "generation_config", None))
    refuse_filled(inputs)
    return _with_mask(inputs, model, encoder_decoder)


def refuse_filled(inputs: Inputs) -> None:
    """Refuse a source together with a cache that already holds tokens: they were not fused with the source.

    Raises:
        UserError: There is such a cache.
    """
    if (held := cached_tokens(inputs.cache)) > 0:
        raise UserError(
            f"a source is read with the whole prompt, but the key-value cache given holds {held} tokens already; leave "
            "the cache out, or call generate(source_input_ids=...), which makes its own"
        )


def _encode(
    model: Any, reader: SourceReader, calls: Calls, frame: Frame, inputs: Inputs
) -> tuple[Session, dict[str, Any]]:
    """Run the model's encoder on the target; it fuses."""
    calls.begin()
    calls.open(frame)
    try:
        with torch.no_grad():
            texts = {name: inputs.rest[name] for name in ("input_ids", "inputs_embeds") if name in inputs.rest}
            output = model.get_encoder()(**texts, attention_mask=inputs.rest["attention_mask"], return_dict=True)
    finally:
        calls.close()
    side = next(iter(frame.sides.values()))
    encoded = side.source.final if isinstance(side.source, ModelStates) else None
    cache = inputs.cache  # the user's own, which is empty: the pair below replaces it
    rest = {name: value for name, value in inputs.rest.items() if cache is None or value is not cache}
    rest["encoder_outputs"] = output
    if _option(rest, model, "cache_implementation") not in (None, "dynamic"):
        raise UserError(
            "generate with a source keeps a pair of dynamic key-value caches for an encoder-decoder model; leave "
            "cache_implementation out"
        )
    if rest.get("use_cache", True) and model.generation_config.use_cache is not False:
        rest[cache_argument(reader.options)] = PairedCache()
    return Session(reader, dict(frame.sides), True, encoded), rest


def _option(options: dict[str, Any], model: Any, name: str) -> Any:
    """Return an option of a call of `generate`: the call's own, or that of the generation configuration."""
    return options.get(name) or getattr(options.get("generation_config") or model.generation_config, name, None)


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
