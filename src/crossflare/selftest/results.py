"""What a tiny model gives for a batch: logits of one pass, gradients of a step, and what it writes."""

from typing import Any

import torch
from torch import Tensor

from crossflare.selftest.models import ANSWER, PAD, rows

STEPS = 5
"""Tokens that are written."""


@torch.no_grad()
def logits(model: Any, inputs: dict[str, Tensor]) -> Tensor:
    """Return the logits [B,...] of one pass; of a decoder those of the last token, which padding does not move."""
    given = inputs
    if model.config.is_encoder_decoder:
        given = inputs | {"decoder_input_ids": answers(inputs)}
    found: Tensor = model(**given).logits
    return found[:, -1] if model.config.model_type == "llama" else found


def answers(inputs: dict[str, Tensor]) -> Tensor:
    """Return tokens [B,ANSWER] for the decoder of an encoder-decoder model: the same for every row."""
    ids = inputs["input_ids"]
    return torch.tensor(rows([ANSWER], 7)).repeat(len(ids), 1).to(ids.device)


def written(model: Any, inputs: dict[str, Tensor], **options: Any) -> tuple[Tensor, Tensor]:
    """Return what `generate` writes greedily [B,N], and the logits of every step [B,N,V]; N is STEPS by default."""
    out = _generate(model, inputs, output_logits=True, **options)
    return out.sequences[:, -len(out.logits) :], torch.stack(out.logits, 1)


def beam_scores(model: Any, inputs: dict[str, Tensor], **options: Any) -> Tensor:
    """Return the scores of three beams [B,3], the best first."""
    out = _generate(model, inputs, num_beams=3, num_return_sequences=3, output_scores=True, **options)
    return out.sequences_scores.view(len(inputs["input_ids"]), 3)


def _generate(model: Any, inputs: dict[str, Tensor], **options: Any) -> Any:
    fixed = {"max_new_tokens": STEPS, "do_sample": False, "pad_token_id": PAD, "return_dict_in_generate": True}
    return model.generate(**inputs, **fixed | options)
