"""The computations of the authors' released code that differ from the method (pnborchert/FLARE, commit 4f402db).

`FlareConfig(released=True)` brings these differences back, so that their effect on a result can be measured:

- nothing is masked: column j of the target fuses with column j of the source, even in padding and in answers;
- the source state is the one before the block (lead 0), as it is in pre-norm models (no `source_norm`);
- in training the source pass has live dropout;
- without a source the layer is plain LoRA, with no nonlinearity;
- in training under activation checkpointing nothing fuses;
- in generation the source model writes its own answer first, and only the state of its last step fuses, with every
  column of the prompt and every new token.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from crossflare.errors import UserError
from crossflare.fusion.alignment import Pairing
from crossflare.fusion.frame import Frame, ModelStates, Side, real_rows
from crossflare.fusion.functions import Phi
from crossflare.fusion.inputs import Inputs
from crossflare.fusion.reading import SourceReader
from crossflare.libraries.transformers import checkpointing

LENGTHS = ("max_new_tokens", "max_length", "min_new_tokens", "eos_token_id", "pad_token_id", "generation_config")
"""Options of `generate` that apply to the source's answer, too."""


class ReleasedSide(Side):
    """A side that pairs column by column, whatever the columns hold; a source of one column pairs with every column."""

    def silent(self, alignment: str) -> bool:
        """Return False: answers fuse, too."""
        del alignment
        return False

    def pairing(self, alignment: str, target_states: Tensor, source_states: Tensor) -> Pairing:
        """Return the pairing [B,T] by column; rows without a source pair nothing."""
        del alignment
        mask = self.source.mask
        rows, columns = target_states.shape[:2]
        index = torch.arange(columns, device=mask.device).clamp(max=source_states.shape[1] - 1).expand(rows, -1)
        every = torch.ones_like(index, dtype=torch.bool)
        return Pairing(every, mask, every & mask.any(1, keepdim=True), index=index)


@dataclass(frozen=True, slots=True)
class PlainAlone:
    """A phi whose target-only value is T: without a source the released layer is plain LoRA."""

    phi: Phi

    def __call__(self, source: Tensor | None, target: Tensor, pairing: Pairing | None) -> Tensor:
        """Return [B,T,r] from source [B,S,r] and target [B,T,r]."""
        if source is None or pairing is None:
            return target
        return torch.where(pairing.paired[..., None], self.phi(source, target, pairing), target)


def is_off(model: nn.Module) -> bool:
    """Return whether the source is lost on the way: the released models' checkpointed calls do not pass it on."""
    return model.training and bool(checkpointing(model.modules()))


def check_widths(inputs: Inputs) -> None:
    """Refuse sides of unequal width.

    Raises:
        UserError: The source and the target do not have the same number of columns.
    """
    source, target = inputs.source_mask.shape[1], inputs.target_mask.shape[1]
    if source != target:
        raise UserError(
            f"the released code fuses column by column, but the source has {source} columns and the target {target}; "
            "pad both to one length (max_length)"
        )


def unmasked(frame: Frame) -> Frame:
    """Return the frame of one forward pass as the released code sees it."""
    return replace(frame, sides={name: _unmasked(side) for name, side in frame.sides.items()})


def last_step(reader: SourceReader, stacks: Iterable[str], inputs: Inputs) -> dict[str, Side]:
    """Let the source model write its answer, greedily, and return the state of the last step as every column's source.

    For a target of n tokens, padding included, and an answer of N steps, the released code takes the source's step
    min(n - 1, N - 1). It is the last step unless the prompt is shorter than the source's answer.

    Raises:
        UserError: The source is padded on the right.
    """
    inputs.check(None)
    mask = real_rows(inputs.source_mask)
    if not bool(mask[:, -1].all()):
        raise UserError(
            "the released code lets the model answer the source, but sources are padded on the right; set "
            "tokenizer.padding_side = 'left'"
        )
    options = {name: inputs.rest[name] for name in LENGTHS if name in inputs.rest}
    with torch.no_grad():
        answer = reader.model.generate(
            **inputs.source | {"attention_mask": mask.long()} | options,
            do_sample=False,
            num_beams=1,
            output_hidden_states=True,
            return_dict_in_generate=True,
        )
    states = [state[:, -1:] for state in answer.hidden_states[-1]]
    given = inputs.source_mask.any(1, keepdim=True)
    return {name: ReleasedSide(ModelStates(states, given), inputs.target_mask, known={}) for name in stacks}


def _unmasked(side: Side) -> Side:
    assert isinstance(side.source, ModelStates), "the released setting reads text"
    source, mask = side.source, side.source.mask
    every = mask.any(1, keepdim=True).expand_as(mask)
    return ReleasedSide(
        ModelStates(source.states, every, source.final, source.rows), torch.ones_like(side.fusing), known={}
    )
