"""What a trained adapter does: mean activations, the source tokens that it reads, the blocks whose fusion it needs.

The paper shows them for the first query layer that fuses (English against Acehnese on NusaX).
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crossflare.analysis.opening import Adapter, Layer, fusing_layers, query_of, replaced, seen, silent
from crossflare.errors import UserError
from crossflare.evaluation.metrics import FloatArray
from crossflare.evaluation.scoring import scoring
from crossflare.evaluation.significance import Difference, Sample, paired_difference, sample, sample_values
from crossflare.fusion.alignment import Pairing
from crossflare.fusion.functions import CrossAttention
from crossflare.training.forms.protocol import Choices, Outputs

STATES = ("source", "target", "fused")
"""lora_A(v_source), lora_A(x), and phi of both."""


@dataclass(frozen=True)
class Activations:
    """The means over the real tokens of all rows that have a source."""

    layer: str
    means: dict[str, FloatArray]
    """State -> [r]."""
    tokens: dict[str, int]
    """State -> tokens that the mean is over."""


def mean_activations(adapter: Adapter, block: int | None = None) -> Activations:
    """Return the mean of each bottleneck coordinate in one query layer.

    Args:
        adapter: The adapter, with the rows that it reads.
        block: The block's index; None: the first block that fuses.

    Raises:
        UserError: The block does not fuse, or no row has a source.
    """
    layer = query_of(fusing_layers(adapter.trained.model), block)
    sums: dict[str, FloatArray] = {}
    tokens: dict[str, int] = dict.fromkeys(STATES, 0)

    def see(source: Tensor, target: Tensor, fused: Tensor, pairing: Pairing) -> None:
        has_source = pairing.source_mask.any(1, keepdim=True)
        real = pairing.target_mask & has_source
        for state, values, mask in zip(STATES, (source, target, fused), (pairing.source_mask, real, real), strict=True):
            kept = values[mask].cpu().double().sum(0).numpy()  # an Apple GPU has no float64
            sums[state] = sums.get(state, np.zeros_like(kept)) + kept
            tokens[state] += int(mask.sum())

    with replaced([layer], lambda phi: seen(phi, see)):
        adapter.predict()
    if not tokens["source"]:
        raise UserError(f"{adapter.step.label}: no test row has a source; nothing was fused")
    return Activations(layer.name, {state: sums[state] / tokens[state] for state in STATES}, tokens)


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
    """[T,S]; a row sums to 1, or to 0 if the token has no partner."""


def heat_of(adapter: Adapter, row: str | None = None, block: int | None = None) -> Heat:
    """Return the pairing of one test row.

    Args:
        adapter: The adapter, with its test rows.
        row: The example's id; None: the first with a source.
        block: The block whose query layer is used; None: the first that fuses. Only attentions differ between blocks.

    Raises:
        UserError: There is no such row, or it has no source, or its source is not text.
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
    layer = query_of(fusing_layers(adapter.trained.model), block)
    phi = layer.variant.phi
    maps: list[tuple[Tensor, Pairing]] = []

    def see(source: Tensor, target: Tensor, fused: Tensor, pairing: Pairing) -> None:
        del fused
        maps.append((_weights(phi, source, target, pairing), pairing))

    with _tokens_read(adapter.trained.model) as ids, replaced([layer], lambda own: seen(own, see)):
        one.predict()
    weights, pairing = maps[0]  # the first window of a long text; the prompt of a written answer
    rows, columns = pairing.target_mask[0].cpu(), pairing.source_mask[0].cpu()
    texts = [
        tuple(_shown(adapter.trained.tokenizer, token) for token in side[0][mask].tolist())
        for side, mask in ((ids["target"], rows), (ids["source"], columns))
    ]
    return Heat(layer.name, found[0].id, texts[0], texts[1], weights[0].cpu().double().numpy()[rows][:, columns])


def _weights(phi: Any, source: Tensor, target: Tensor, pairing: Pairing) -> Tensor:
    """Return the weight [B,T,S] with which each source token is fused into each target token."""
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


ALL = "all blocks"


@dataclass(frozen=True)
class Drop:
    """The loss when fusion is switched off in one place."""

    place: str
    score: float
    """The main metric without fusion there, 0 to 1."""
    drop: Difference
    """The full adapter's score less this one, with its interval over the paired test rows."""


@dataclass(frozen=True)
class Drops:
    """The effect of each block's fusion on the score."""

    metric: str
    score: float
    """The score of the whole adapter, 0 to 1."""
    parts: tuple[Drop, ...]
    """One for each block, then one for all blocks at once."""


def drops(adapter: Adapter) -> Drops:
    """Switch fusion off block by block: every token there takes phi's target-only value.

    Raises:
        UserError: There are no test rows to score.
    """
    if not len(adapter.split):
        raise UserError(f"{adapter.step.label}: expected test rows to score, got none")
    layers = fusing_layers(adapter.trained.model)
    places: dict[tuple[str, int], list[Layer]] = {}
    for layer in layers:
        places.setdefault(layer.block, []).append(layer)
    metric = adapter.step.context.data.task.main_metric
    full = _sample(adapter, adapter.predict(), metric)
    named = [*zip(_names(list(places)), places.values(), strict=True), (ALL, layers)]
    parts: list[Drop] = []
    for place, some in named:
        with replaced(some, silent):
            without = _sample(adapter, adapter.predict(), metric)
        parts.append(Drop(place, float(without.observed[0]), paired_difference(full, without)))
    return Drops(metric, float(full.observed[0]), tuple(parts))


def _names(places: Sequence[tuple[str, int]]) -> list[str]:
    """Return the names of blocks: the number, with the stack if there are two stacks."""
    several = len({stack for stack, _ in places}) > 1
    kinds = {stack: "decoder " if "decoder" in stack else "encoder " for stack, _ in places}
    return [f"{kinds[stack] if several else 'block '}{block}" for stack, block in places]


def _sample(adapter: Adapter, outputs: Outputs, metric: str) -> Sample:
    task, examples = adapter.step.context.data.task, adapter.split.examples
    ids, seeds = [example.id for example in examples], (adapter.step.seed,)
    rows = scoring(task, adapter.step.language).rows(examples, outputs)
    gold = [row["gold"] for row in rows]
    if isinstance(outputs, Choices):
        return sample(ids, gold, [[row["prediction"] for row in rows]], len(task.labels), seeds)[metric]
    return sample_values(ids, gold, {metric: [[row[metric] for row in rows]]}, seeds)[metric]
