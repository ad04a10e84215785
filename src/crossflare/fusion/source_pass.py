"""The way from a call's source to its frame: what the base model reads, and which states each stack fuses with."""

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from crossflare.fusion import released
from crossflare.fusion.blocks import Site, is_causal, is_encoder_decoder
from crossflare.fusion.config import FlareConfig
from crossflare.fusion.entering import Watch, find_passages
from crossflare.fusion.frame import Frame, LatentStates, ModelStates, Side, drop_rows, real_rows, with_stand_ins
from crossflare.fusion.inputs import Inputs
from crossflare.fusion.reading import SourceReader
from crossflare.libraries.torch import unwrapped

SHARED = ("decoder_input_ids", "decoder_inputs_embeds", "decoder_attention_mask", "decoder_position_ids")
"""What a decoder reads, whatever the encoder reads."""


class SourcePass:
    """The reading of the source: with the model itself, or as the latents of a translation model's encoder."""

    def __init__(self, model: nn.Module, sites: list[Site]) -> None:
        """Find the stacks of blocks of a model.

        Args:
            model: A model with its adapters.
            sites: The projections that may fuse.
        """
        self.model, self.passages = model, find_passages(model, sites)
        self.encoder_decoder = is_encoder_decoder(model)
        # The first site of each stack stands for all: they are alike.
        stacks = {site.stack: site for site in reversed(sites) if site.role == "self"}
        self.stacks = dict(sorted(stacks.items(), key=lambda item: "decoder" in item[0]))
        """The name of a list of blocks -> one of its sites; the encoder's first."""
        self.blocks = {name: [unwrapped(each) for each in model.get_submodule(name).children()] for name in self.stacks}
        self.causal = not self.encoder_decoder and is_causal(model, self.stacks[self.first])
        """Whether the model is decoder-only."""
        self.counts_padding = self.causal and "position_ids" not in inspect.signature(model.forward).parameters
        """Whether its positions may count padding, as in BART's decoder alone, and no argument can change that."""
        self.ready = SourceReader(model, self.blocks)
        """The reader for traced graphs."""
        self.known = False
        """Whether a pass has shown that source states enter the projections as the model's own do."""

    def __getstate__(self) -> dict[str, Any]:
        """Leave the reader out of copies: it is made from the original's modules."""
        return {name: value for name, value in vars(self).items() if name != "ready"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the copied state."""
        vars(self).update(state)

    def reader(self, *, live: bool = False, watch: Watch | None = None) -> SourceReader:
        """Return a reader of the model as it is now.

        A traced graph cannot make a reader: it takes one that is made when tracing begins.
        """
        if torch.compiler.is_dynamo_compiling():
            _renew(self)
            return self.ready
        return SourceReader(self.model, self.blocks, live=live, watch=watch)

    def _watch(self) -> Watch | None:
        """Return an observer of the next pass; None in a traced graph, which has no values."""
        return None if torch.compiler.is_dynamo_compiling() else Watch(self.model, self.passages)

    @property
    def first(self) -> str:
        """The stack that reads the text: an encoder's, or the only one."""
        return next(iter(self.stacks))

    def frame(self, inputs: Inputs, config: FlareConfig, *, encoder: SourceReader | None = None) -> Frame:
        """Return what one call of the model fuses with.

        Args:
            inputs: The arguments of the call.
            config: The active adapter's configuration.
            encoder: A reader whose encoder alone reads the source, without its decoder.

        Raises:
            UserError: The source does not fit the adapter or the target (see `Inputs.check`).
        """
        inputs.check(config.mt_dim)
        if config.released:
            released.check_widths(inputs)
        if self.counts_padding and inputs.latents is None:
            inputs = inputs.from_the_start()
        mask, rows = inputs.source_mask, inputs.rows
        real = kept = mask if rows is None else mask[rows]
        if self.model.training and config.source_dropout > 0:
            kept = drop_rows(real, config.source_dropout)
        causal, target = self.causal, inputs.target_mask
        anchor = "end" if causal else "start"
        if inputs.latents is not None:
            latent = LatentStates(inputs.latents, kept, rows)
            return Frame({self.first: Side(latent, target, anchor, causal, known={})}, None, {}, set())
        watch = None if self.known or encoder or not config.source_norm else self._watch()
        reader = encoder or self.reader(live=config.released, watch=watch)
        source, shared = self._arguments(inputs, mask, causal, reader)
        if encoder is not None:
            reading = reader.encode(source)
        elif shared and rows is not None:
            reading = reader.read_shared(source, shared, rows)
        else:
            reading = reader.read(source | shared)
        if watch is not None:
            self.known = watch.end()
        sides: dict[str, Side] = {}
        for name, states in reading.states.items():
            if name == self.first:
                sides[name] = Side(ModelStates(states, kept, reading.final, rows), target, anchor, causal, known={})
            elif states and shared:  # the decoder reads the same tokens, whatever the encoder read
                every = torch.ones(states[0].shape[:2], dtype=torch.bool, device=mask.device)
                sides[name] = Side(ModelStates(states, every & kept.any(1, keepdim=True)), every, same=True, known={})
            elif states:  # a classifier's decoder reads the text itself
                sides[name] = Side(ModelStates(states, kept, None, rows), target, known={})
        own = reading.logits if rows is None or shared or reading.logits is None else reading.logits[rows]
        frame = Frame(sides, _without_empty(own, real), {}, set())
        return released.unmasked(frame) if config.released else frame

    def _arguments(
        self, inputs: Inputs, mask: Tensor, causal: bool, reader: SourceReader
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the source pass's own arguments, and those of the target's that its decoder reads."""
        real = real_rows(mask).long()
        source = inputs.source | {"attention_mask": real}
        if causal and "position_ids" in reader.options and "position_ids" not in source:
            source["position_ids"] = (real.cumsum(1) - 1).clamp(min=0)  # absolute positions must not count padding
        if not self.encoder_decoder:
            return source, {}
        if "input_ids" in source and not self._writes:  # classifiers insist on an end token in every row
            source |= with_stand_ins(source["input_ids"], mask, self.model.config.eos_token_id)  # type: ignore[union-attr]
        shared = {name: value for name in SHARED if (value := inputs.target.get(name)) is not None}
        labels = inputs.target.get("labels")
        if not shared and labels is not None and self._writes:
            shared = {"labels": labels}  # the model makes the decoder's inputs from them
        return source, shared

    @property
    def _writes(self) -> bool:
        """Whether the model writes text: its labels are tokens, and its decoder reads them."""
        return self.model.get_output_embeddings() is not None  # type: ignore[operator]


@torch.compiler.assume_constant_result
def _renew(source_pass: SourcePass) -> bool:
    """Replace the reader for graphs by one of the model as it is now; this runs during tracing, never in the graph."""
    source_pass.ready = SourceReader(source_pass.model, source_pass.blocks)
    return True


def _without_empty(logits: Tensor | None, mask: Tensor) -> Tensor | None:
    """Return the source's logits [B,...], NaN in rows that have no source."""
    if logits is None:
        return None
    return logits.masked_fill((~mask.any(1)).view(-1, *[1] * (logits.dim() - 1)), float("nan"))
