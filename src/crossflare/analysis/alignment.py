"""Which source tokens feed a target token: the pairing of one row in one layer."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from crossflare.analysis.opening import Adapter
from crossflare.analysis.watching import fusing_layers, query_of, replaced, seen
from crossflare.errors import UserError
from crossflare.evaluation.metrics import FloatArray
from crossflare.fusion.alignment import Pairing
from crossflare.fusion.functions import CrossAttention


@dataclass(frozen=True)
class Heat:
    """The weights with which source tokens feed target tokens."""

    layer: str
    row: str
    """The id of the example."""
    target: tuple[str, ...]
    """T tokens that may fuse."""
    source: tuple[str, ...]
    """S tokens."""
    weights: FloatArray
    """[T,S]; a row sums to 1, or to 0 where the token has no partner."""


def heat_of(adapter: Adapter, row: str | None = None, block: int | None = None) -> Heat:
    """Return the pairing of one test row.

    Args:
        adapter: What reads.
        row: The example's id; None: the first with a source.
        block: Whose query layer is looked at; None: the first that fuses. Only attentions differ from block to block.

    Raises:
        UserError: There is no such row, or it has no source; or the source is no text.
    """
    if adapter.step.about.reads == "latents":
        raise UserError(f"{adapter.step.label}: its source is a translation encoder's states, which are no tokens")
    known = {example.id: example for example in adapter.split}
    found = [each for each in known.values() if each.source] if row is None else [known[row]] if row in known else []
    if not found or not found[0].source:
        what = "a test row that has a source" if row is None or row in known else f"a test row with the id {row}"
        first = next((each.id for each in known.values() if each.source), "none there is")
        raise UserError(f"{adapter.step.label}: expected {what}; the first with a source is {first}")
    one = replace(adapter, split=replace(adapter.split, examples=(found[0],)))
    layer = query_of(fusing_layers(adapter.model), block)
    phi = layer.variant.phi
    maps: list[tuple[Tensor, Pairing]] = []

    def see(source: Tensor, target: Tensor, fused: Tensor, pairing: Pairing) -> None:
        del fused
        maps.append((_weights(phi, source, target, pairing), pairing))

    with _tokens_read(adapter.model) as ids, replaced([layer], lambda own: seen(own, see)):
        one.predict()
    weights, pairing = maps[0]  # of windows of a long text the first; of a written answer the prompt
    rows, columns = pairing.target_mask[0].cpu(), pairing.source_mask[0].cpu()
    texts = [
        tuple(_shown(adapter.tokenizer, token) for token in side[0][mask].tolist())
        for side, mask in ((ids["target"], rows), (ids["source"], columns))
    ]
    return Heat(layer.name, found[0].id, texts[0], texts[1], weights[0].cpu().double().numpy()[rows][:, columns])


def _weights(phi: Any, source: Tensor, target: Tensor, pairing: Pairing) -> Tensor:
    """Return [B,T,S] how much of each source token a target token is fused with."""
    if isinstance(phi, CrossAttention):
        return phi.weights(target, source, pairing.source_mask).masked_fill(~pairing.paired[..., None], 0)
    unit = torch.eye(source.shape[1], device=source.device).expand(len(source), -1, -1)
    return pairing.carry(unit, 0.0)


@contextmanager
def _tokens_read(model: Any) -> Generator[dict[str, Tensor]]:
    """Note the token ids [B,S] and [B,T] of the first texts that the base reads as source and as target."""
    base = model.get_base_model()
    reader = base.get_encoder() if base.config.is_encoder_decoder else base
    words = reader.get_input_embeddings()
    ids: dict[str, Tensor] = {}

    def note(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        ids.setdefault("target" if module is words else "source", (args[0] if args else kwargs["input"]).cpu())

    handle = words.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield ids
    finally:
        handle.remove()


def _shown(tokenizer: Any, token: int) -> str:
    """Return a token as a reader knows it, without the marks of word beginnings."""
    return tokenizer.decode([token]).strip() or str(tokenizer.convert_ids_to_tokens(token)).strip("▁Ġ ") or "␣"
