"""Hours, memory and disk of each cell of a recipe, and of all together, on one card and on several."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from heapq import heappop, heappush
from pathlib import Path

from crossflare.experiment.costs import operations, pieces, rows
from crossflare.experiment.costs.pieces import COUNTED, Piece, RecipePieces
from crossflare.experiment.costs.shapes import find_accelerator
from crossflare.experiment.steps.graph import contexts_of
from crossflare.recipe.grid import Recipe

SEVERAL = 8
"""The cards that are compared with one."""


@dataclass(frozen=True, slots=True)
class CellCost:
    """The cost of a cell alone, or of all cells, whose shared work is counted once."""

    name: str
    hours: float
    """On one card."""
    hours_on_several: float
    """On `SEVERAL` cards, each making one step at a time."""
    memory: float
    """Peak bytes on one card."""
    fits: bool
    """Whether a card has that much."""
    disk: float
    """Bytes at the end, with the files of the models, and the checkpoints of the largest step."""


@dataclass(frozen=True, slots=True)
class Costs:
    """The costs of a recipe."""

    device: str
    cells: tuple[CellCost, ...]
    total: CellCost
    assumptions: tuple[str, ...]


def estimate(recipe: Recipe, device: str) -> Costs:
    """Count the operations of all chosen cells, and return what they cost on a kind of card; nothing is loaded.

    Raises:
        UserError: The device or the sizes of a model are not known, or rows that must be counted are not at hand.
    """
    card = find_accelerator(device)
    made: dict[str, Piece] = {}
    models: dict[str, float] = {}
    cells: list[CellCost] = []
    left_out: dict[str, None] = {}
    for context in contexts_of(recipe, Path()):
        counted = RecipePieces(context, card)
        own = {piece.key: piece for piece in counted.all()}
        cells.append(_cost(context.cell, own, counted.models, card.memory))
        made, models = own | made, counted.models | models
        routes = context.spec.translation
        engines = (each.engine for each in (routes.to_target, routes.to_source) if each is not None)
        left_out |= dict.fromkeys(f"translations by {each}" for each in engines if each not in COUNTED)
        outside = (method.name for method in context.spec.methods if method.about.outside)
        left_out |= dict.fromkeys(f"the answers of {name}" for name in outside)
    return Costs(card.title, tuple(cells), _cost("all", made, models, card.memory), _assumptions(left_out))


def _cost(name: str, made: Mapping[str, Piece], models: Mapping[str, float], room: float) -> CellCost:
    memory = max(piece.memory for piece in made.values())
    scratch = max(piece.scratch for piece in made.values())
    disk = sum(piece.disk for piece in made.values()) + sum(models.values()) + scratch
    seconds = sum(piece.seconds for piece in made.values())
    return CellCost(name, seconds / 3600, makespan(made.values(), SEVERAL) / 3600, memory, memory <= room, disk)


def amount(value: float) -> str:
    """Return a number with two digits that count: a rougher one would promise less than it knows, a finer one more."""
    return f"{value:.2f}" if value < 0.1 else f"{value:.1f}" if value < 10 else f"{value:,.0f}"


def makespan(made: Iterable[Piece], cards: int) -> float:
    """Return the seconds until the last piece is done, if each free card takes the first piece whose needs are done."""
    order = {piece.key: (place, piece) for place, piece in enumerate(made)}
    missing = {key: {each for each in piece.needs if each in order} for key, (_, piece) in order.items()}
    after: dict[str, list[str]] = defaultdict(list)
    for key, needs in missing.items():
        for each in needs:
            after[each].append(key)
    ready = sorted((order[key][0], key) for key, needs in missing.items() if not needs)
    running: list[tuple[float, str]] = []
    now = 0.0
    while ready or running:
        while ready and len(running) < cards:
            _, key = heappop(ready)
            heappush(running, (now + order[key][1].seconds, key))
        now, done = heappop(running)
        for key in after[done]:
            missing[key].discard(done)
            if not missing[key]:
                heappush(ready, (order[key][0], key))
    return now


def _assumptions(left_out: Iterable[str]) -> tuple[str, ...]:
    """Return what the numbers rest on, each as one line."""
    lines = [
        "a multiplication and an addition for each weight and token; the backward pass of an adapter costs as much "
        "again (no gradients of frozen weights), of a whole model twice that",
        f"{operations.SHARE:.0%} of the card's peak in bfloat16 is reached, {operations.SHARE_4BIT:.0%} with 4-bit "
        f"weights; a pass through a block takes at least {1000 * operations.LAUNCH:g} ms, which decides where batches "
        "are small, as in writing word by word",
        f"every step reads its base from disk at {operations.LOADING / 1e9:g} GB a second; models have 4 bytes a "
        "weight on disk (some are published in 2) and on the card, or 4 bits where the recipe says so, embeddings "
        "apart",
        "rows and mean lengths of NusaX, XNLI, TyDiQA: as released, in tokens of XLM-R's tokenizer for every model, "
        f"which is too few for others in rare scripts; other sets: counted, {rows.CHARACTERS:g} characters a token",
        f"a prompt has {pieces.PROMPT} tokens beside its texts, a sentence {pieces.SENTENCE}; every answer is written "
        "to its limit, and no training stops early",
        "memory: a batch of the longest rows with what its backward pass keeps, weights, and AdamW's numbers; what the "
        "allocator loses is not in it (a tenth is usual)",
        f"on {SEVERAL} cards: one step a card at a time, a translation once, and the steps that read it wait",
    ]
    lines += [f"{each}: no time of a graphics card is counted" for each in left_out]
    return tuple(lines)
