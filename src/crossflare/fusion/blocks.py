"""What crossflare knows about the inside of models: where the blocks are, and what their projections are called.

No other file of `fusion` has such names. A new architecture that uses one of these spellings needs no change.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from crossflare.errors import UserError
from crossflare.libraries.torch import unwrapped

PROJECTIONS: tuple[tuple[str, ...], ...] = (
    ("query", "value"),  # BERT, RoBERTa, XLM-R, ELECTRA
    ("query_proj", "value_proj"),  # DeBERTa-v2/v3, mDeBERTa
    ("q_lin", "v_lin"),  # DistilBERT
    ("q_proj", "v_proj"),  # Llama, Gemma, Qwen, Mistral, M2M100, NLLB
    ("q", "v"),  # T5, mT5, umT5
)
"""Names of the query and value projections of self-attention, one row per family."""


@dataclass(frozen=True, slots=True)
class OneMatrix:
    """How the rows of one matrix for query, key and value are laid out: groups of query rows, key rows, value rows."""

    groups: int
    query: int
    key: int
    value: int
    """The rows of query, key and value in a group, as shares."""

    def replace_key(self, fused: Tensor, plain: Tensor) -> Tensor:
        """Return the output `fused` [...,d_out] with the key's numbers of `plain` [...,d_out]."""
        fused, plain = (each.unflatten(-1, (self.groups, -1)) for each in (fused, plain))
        unit = fused.shape[-1] // (self.query + self.key + self.value)
        start, stop = self.query * unit, (self.query + self.key) * unit
        return torch.cat([fused[..., :start], plain[..., start:stop], fused[..., stop:]], -1).flatten(-2)


def _thirds(config: Any) -> OneMatrix:
    del config
    return OneMatrix(1, 1, 1, 1)


def _by_head(config: Any) -> OneMatrix:
    return OneMatrix(config.num_attention_heads, 1, 1, 1)


def _shared_key(config: Any) -> OneMatrix:
    return OneMatrix(1, config.num_attention_heads, 1, 1)


def _grouped_query(config: Any) -> OneMatrix:
    return OneMatrix(1, config.num_attention_heads, config.num_key_value_heads, config.num_key_value_heads)


def _falcon(config: Any) -> OneMatrix:
    if config.new_decoder_architecture:
        return OneMatrix(config.num_kv_heads, config.num_attention_heads // config.num_kv_heads, 1, 1)
    return _shared_key(config) if config.multi_query else _by_head(config)


def _bigcode(config: Any) -> OneMatrix:
    return _shared_key(config) if config.multi_query else _by_head(config)


ONE_MATRIX: dict[str, tuple[str, Callable[[Any], OneMatrix]]] = {
    "bloom": ("query_key_value", _by_head),
    "deberta": ("in_proj", _by_head),
    "falcon": ("query_key_value", _falcon),
    "gpt2": ("c_attn", _thirds),
    "gpt_bigcode": ("c_attn", _bigcode),
    "gpt_neox": ("query_key_value", _by_head),
    "gpt_neox_japanese": ("query_key_value", _by_head),
    "modernbert": ("Wqkv", _thirds),
    "mpt": ("Wqkv", _thirds),
    "persimmon": ("query_key_value", _by_head),
    "phi3": ("qkv_proj", _grouped_query),
}
"""Model type -> the name of its one matrix for query, key and value, and how its rows are laid out."""

INPUT_NORMS = {
    "self": (
        "input_layernorm", "attn_norm", "ln_1", "layer.0.layer_norm", "attention_layernorm", "operator_norm", "norm_1",
    ),
    "cross_query": ("layer.1.layer_norm",),
}  # fmt: skip
"""Names of the norm that a pre-norm block applies to the states before an attention, by the site's role."""
BART_NORMS = {"self": ("self_attn_layer_norm",), "cross_query": ("encoder_attn_layer_norm",)}
"""The same names in BART's family, where they do not tell whether the norm comes before or after."""
PRE_NORM_BARTS = frozenset(
    {
        "bigbird_pegasus", "biogpt", "blenderbot", "m2m_100", "mbart", "nllb-moe", "opt", "pegasus",
        "whisper", "xglm",
    }
)  # fmt: skip
"""Model types of BART's family that apply the norm before."""
OWN_NORMS = {
    "megatron-bert": "attention.ln",
    "roberta-prelayernorm": "attention.LayerNorm",
    "xlm-roberta-xl": "attention.self_attn_layer_norm",
}
"""Model types with a norm before self-attention whose name means another norm in other models."""
CAUSAL = frozenset({"bloom", "doge", "gpt_neox_japanese", "mpt", "olmo_hybrid", "xglm"})
"""Model types whose tokens see only what precedes them, though neither configuration nor attention says so."""
CROSS = ("EncDecAttention", "encoder_attn", "crossattention", "cross_attn", "cross_attention")
"""Names of a decoder's attention to the encoder."""
UNFIT = {
    "albert": "run one block several times",
    "dory": "run their blocks several times",
    "fsmt": "keep their states with the tokens first",
    "led": "keep the states of their attention with the tokens first",
    "longformer": "keep the states of their attention with the tokens first",
    "mobilebert": "narrow the states before their attention",
    "nemotron_h": "have blocks of several kinds, with norms that do not tell which",
    "openai-gpt": "have a norm after attention under the name of one before",
    "pegasus_x": "shift the tokens of their blocks",
    "prophetnet": "write with several streams of states",
    "recurrent_gemma": "have blocks of several kinds, with norms that do not tell which",
    "squeezebert": "keep their states with the tokens last",
}
"""Model types whose states do not reach the projections as in other models -> what they do instead.

They are refused by name, before a first call with a source would show it (see `entering`).
"""

INDEXED = re.compile(r"^(?P<list>.+?)\.(?P<index>\d+)\.(?P<rest>.+)$")
Role = Literal["self", "cross_query", "cross_value"]


@dataclass(frozen=True, slots=True)
class Site:
    """A projection of one block."""

    name: str
    block: int
    projection: str
    stack: str
    """The name of the list of blocks."""
    role: Role = "self"
    """Self-attention, or the decoder's attention to the encoder."""


def find_sites(model: nn.Module, projections: tuple[str, ...], *, cross: bool = False) -> list[Site]:
    """Return every projection in a list of blocks whose last name is in `projections`, encoder before decoder.

    Args:
        model: Any transformers model.
        projections: The last parts of the projections' names.
        cross: Return those of the decoder's attention to the encoder, too.

    Raises:
        UserError: No module has these names, or they lie in lists of blocks that are not an encoder and a decoder.
    """
    if (reason := UNFIT.get(_type(model))) is not None:
        raise UserError(
            f"{type(model).__name__}: models of the type {_type(model)} {reason}; this architecture is not supported: "
            "take another model"
        )
    sites: list[Site] = []
    for name, _ in model.named_modules():
        match = INDEXED.match(name)
        inside_adapter = ".lora_" in name  # its modules may be named like a projection
        projection = name.rpartition(".")[2]
        if match and not inside_adapter and projection in projections:
            if match["list"].endswith("attentions"):  # XLM, FlauBERT
                raise UserError(
                    f"{type(model).__name__} keeps its attentions in a list of their own ({match['list']}), apart from "
                    "the rest of its blocks; this architecture is not supported: take another model"
                )
            sites.append(Site(name, int(match["index"]), projection, match["list"], _role(match["rest"], projection)))
    if not sites:
        raise UserError(
            f"{type(model).__name__} has no projections named {', '.join(projections)} inside a list of blocks; "
            "set fusion_modules and target_modules to the names of its query and value projections"
        )
    stacks = list(dict.fromkeys(site.stack for site in sites))
    paired = len(stacks) == 2 and is_encoder_decoder(model) and "decoder" in stacks[1]
    if len(stacks) > 1 and not paired:
        raise UserError(
            f"{type(model).__name__} has projections named {', '.join(projections)} in several lists of blocks "
            f"({', '.join(stacks)}); only one list, or an encoder's and a decoder's, is supported"
        )
    return [site for site in sites if cross or site.role == "self"]


def _role(rest: str, projection: str) -> Role:
    if not any(part in CROSS for part in rest.split(".")):
        return "self"
    return "cross_query" if projection.startswith("q") else "cross_value"


def is_encoder_decoder(model: nn.Module) -> bool:
    """Return whether the model's configuration calls it an encoder-decoder."""
    return bool(getattr(getattr(model, "config", None), "is_encoder_decoder", False))


def is_causal(model: nn.Module, site: Site) -> bool:
    """Return whether the tokens of a site's self-attention see only what precedes them."""
    attention = model.get_submodule(site.name.rpartition(".")[0])
    config = getattr(model, "config", None)
    said = getattr(attention, "is_causal", False) or getattr(config, "is_decoder", False)
    return bool(said) or _type(model) in CAUSAL


def find_projections(model: nn.Module) -> tuple[str, ...]:
    """Return the names of the model's query and value projections.

    Raises:
        UserError: The model has none of the known spellings.
    """
    leaves = {name.rpartition(".")[2] for name, _ in model.named_modules() if INDEXED.match(name)}
    known = ONE_MATRIX.get(_type(model))
    for names in PROJECTIONS if known is None else ((known[0],),):
        if leaves.issuperset(names):
            return names
    raise UserError(
        f"{type(model).__name__}: the query and value projections are not known by name; set fusion_modules and "
        f"target_modules in FlareConfig (names seen in its blocks: {', '.join(sorted(leaves)[:20])})"
    )


def one_matrix(model: nn.Module, site: Site) -> OneMatrix | None:
    """Return the layout of a projection that is query, key and value in one; None for any other."""
    known = ONE_MATRIX.get(_type(model))
    return known[1](model.config) if known is not None and known[0] == site.projection else None


def _type(model: nn.Module) -> str:
    return str(getattr(getattr(model, "config", None), "model_type", ""))


def input_norm(model: nn.Module, site: Site) -> nn.Module | None:
    """Return the norm that a pre-norm block applies before a site's attention; None for post-norm blocks."""
    names = INPUT_NORMS.get(site.role, ())
    before = getattr(getattr(model, "config", None), "do_layer_norm_before", True)  # OPT: the 350m model says no
    if _type(model) in PRE_NORM_BARTS and before:
        names = (*names, *BART_NORMS.get(site.role, ()))
    if site.role == "self" and _type(model) in OWN_NORMS:
        names = (*names, OWN_NORMS[_type(model)])
    known = dict(unwrapped(model.get_submodule(f"{site.stack}.{site.block}")).named_modules())
    return next((known[name] for name in names if name in known), None)


def projects_positions(attention: nn.Module) -> bool:
    """Return whether an attention module also passes relative positions through its projections (DeBERTa)."""
    return hasattr(attention, "pos_att_type")
