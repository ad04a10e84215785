"""What crossflare knows about the inside of models: where the blocks are, and what their projections are called.

The only file with names of other people's modules. A new architecture that uses one of these spellings needs nothing.
"""

import re
from dataclasses import dataclass

from torch import nn

from crossflare.errors import UserError

PROJECTIONS: tuple[tuple[str, ...], ...] = (
    ("query", "value"),  # BERT, RoBERTa, XLM-R, ELECTRA
    ("query_proj", "value_proj"),  # DeBERTa-v2/v3, mDeBERTa
    ("q_lin", "v_lin"),  # DistilBERT, XLM
    ("q_proj", "v_proj"),  # Llama, Gemma, Qwen, Mistral, M2M100, NLLB
    ("q", "v"),  # T5, mT5, umT5
    ("Wqkv",),  # ModernBERT: query, key and value in one matrix, which fuses as a whole
    ("query_key_value",),  # GPT-NeoX, BLOOM, Falcon: likewise
    ("c_attn",),  # GPT-2: likewise
)
"""Names of the query and value projections of self-attention, one row per family."""

INPUT_NORMS = ("input_layernorm", "attn_norm", "ln_1")
"""Names of the norm that a pre-norm block applies to the states before its attention."""

INDEXED = re.compile(r"^(?P<list>.+?)\.(?P<index>\d+)\.(?P<rest>.+)$")


@dataclass(frozen=True, slots=True)
class Site:
    """A projection of one block."""

    name: str
    block: int
    projection: str


def find_sites(model: nn.Module, projections: tuple[str, ...]) -> tuple[str, list[Site]]:
    """Return the name of the list of blocks, and every projection in it whose last name is in `projections`.

    Raises:
        UserError: No module has these names, or they lie in several lists of blocks.
    """
    sites: dict[str, list[Site]] = {}
    for name, _ in model.named_modules():
        match = INDEXED.match(name)
        inside_adapter = ".lora_" in name  # whose own name may be that of a projection
        if match and not inside_adapter and name.rpartition(".")[2] in projections:
            site = Site(name, int(match["index"]), name.rpartition(".")[2])
            sites.setdefault(match["list"], []).append(site)
    if not sites:
        raise UserError(
            f"{type(model).__name__} has no projections named {', '.join(projections)} inside a list of blocks; "
            "set fusion_modules and target_modules to the names of its query and value projections"
        )
    if len(sites) > 1:
        raise UserError(
            f"{type(model).__name__} has projections named {', '.join(projections)} in several lists of blocks "
            f"({', '.join(sites)}); only models with one list of blocks are supported"
        )
    return next(iter(sites.items()))


def find_projections(model: nn.Module) -> tuple[str, ...]:
    """Return the names of the model's query and value projections.

    Raises:
        UserError: None of the known spellings occurs in the model.
    """
    leaves = {name.rpartition(".")[2] for name, _ in model.named_modules() if INDEXED.match(name)}
    for names in PROJECTIONS:
        if leaves.issuperset(names):
            return names
    raise UserError(
        f"{type(model).__name__}: the query and value projections are not known by name; set fusion_modules and "
        f"target_modules in FlareConfig (names seen in its blocks: {', '.join(sorted(leaves)[:20])})"
    )


def input_norm(block: nn.Module) -> nn.Module | None:
    """Return the norm that a pre-norm block applies before attention; None for post-norm blocks."""
    return next((norm for name in INPUT_NORMS if (norm := getattr(block, name, None)) is not None), None)


def projects_positions(attention: nn.Module) -> bool:
    """Whether an attention module also passes relative positions through its projections (DeBERTa)."""
    return hasattr(attention, "pos_att_type")
