"""A tiny model of any type of transformers with a head for text, from a configuration of the same few sizes."""

import re
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers.models.auto import modeling_auto

from family_models import Task

TABLES: dict[Task, str] = {
    "CAUSAL_LM": "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    "SEQ_2_SEQ_LM": "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES",
    "SEQ_CLS": "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES",
    "TOKEN_CLS": "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES",
    "QUESTION_ANS": "MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES",
}
PAD, END, LARGEST = 1, 2, 6_000_000
SIZES: tuple[tuple[str, int], ...] = (
    ("vocab_size|n_vocab", 64),
    ("hidden_size|d_model|n_embd|dim|emb_dim|embed_dim|hidden_dim|word_embed_proj_dim|embedding_size|d_embed", 32),
    ("decoder_hidden_size|model_dim|width", 32),
    ("num_hidden_layers|n_layers?|num_layers|encoder_layers|decoder_layers|num_(de|en)coder_layers|layers|depth", 2),
    ("num_attention_heads|n_heads?|num_heads|(en|de)coder_attention_heads|heads", 4),
    ("num_key_value_heads|num_kv_heads|n_head_kv|multi_query_group_num", 2),
    ("intermediate_size|d_ff|((en|de)coder_)?ffn_dim|n_inner|ffn_hidden_size|intermediate_dim|d_inner", 48),
    ("(shared_expert_|moe_)?intermediate_size|pooler_fc_size", 48),
    ("head_dim|d_kv|(qk_nope_|qk_rope_|v_)head_dim|d_head|kv_channels|attention_head_dim|global_head_dim", 8),
    ("(q|kv)_lora_rank", 16),
    ("max_position_embeddings|n_positions|max_seq_len|n_ctx|max_(sequence|target|source)_(length|positions)", 128),
    ("num_experts|n_routed_experts|num_local_experts", 4),
    ("num_experts_per_tok|moe_topk|num_selected_experts", 2),
    ("rotary_dim", 8),
    ("sliding_window", 64),
)
"""What a field of a configuration is called, and the number it gets."""
OWN: dict[str, dict[str, Any]] = {
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "xlm": {"causal": False},
    "xmod": {"default_language": "en_XX"},
    "reformer": {"is_decoder": True},
}
"""What a type needs beside."""
MIXED = (
    "bailing_hybrid", "jamba", "kimi_linear", "lfm3", "qwen3_5_text", "qwen3_5_moe_text", "qwen3_next",
    "qwen4_exp_text", "recurrent_gemma",
)  # fmt: skip
"""Types that have one block with attention among several without."""
OWN |= {kind: {"num_hidden_layers": 8} for kind in MIXED}
NOT_OF_TEXT = ("vision_config", "audio_config", "vision_tower", "image_token_id", "text_config", "audio_encoder")


class NotBuiltError(Exception):
    """No tiny model of this type can be made, or called; says why."""


@dataclass(frozen=True, order=True)
class Pair:
    """A model type with a head."""

    type: str
    task: Task
    name: str
    """transformers' class."""


def pairs() -> list[Pair]:
    """Return all pairs of transformers, by type."""
    found: list[Pair] = []
    for task, table in TABLES.items():
        for kind, name in getattr(modeling_auto, table).items():
            found.append(Pair(kind, task, name if isinstance(name, str) else name[0]))
    return sorted(found)


def configuration(kind: str) -> Any:
    """Return a tiny configuration; NotBuiltError where the type refuses the sizes, or is made for more than text."""
    made = transformers.CONFIG_MAPPING[kind]  # type: ignore[index]
    try:
        values: dict[str, Any] = made().to_dict()
    except Exception as error:
        raise NotBuiltError(f"its configuration: {_line(error)}") from error
    if any(name in values for name in NOT_OF_TEXT):
        raise NotBuiltError("it is made for more than text")
    changed: dict[str, Any] = {"num_labels": 3}
    for name, value in values.items():
        if name in ("head_dim", "num_key_value_heads") or (isinstance(value, int) and not isinstance(value, bool)):
            changed |= next(({name: size} for pattern, size in SIZES if re.fullmatch(pattern, name)), {})
        if name.endswith("_token_id") and isinstance(value, int | None):
            changed[name] = PAD if name.startswith("pad") else END
        if isinstance(value, float) and ("drop" in name):
            changed[name] = 0.0
    if values.get("is_encoder_decoder"):
        changed["decoder_start_token_id"] = END
    own = OWN.get(kind, {})
    reasons: list[str] = []
    for more in ({"layer_types": None} if "layer_types" in values else {}, {}, {"num_hidden_layers": 4}):
        try:
            return made(**changed | more | own)
        except Exception as error:
            reasons.append(_line(error))
    raise NotBuiltError(f"its configuration: {reasons[0]}")


def make(pair: Pair) -> Any:
    """Return the model in eval mode, its weights random and large enough to matter; always the same."""
    made = getattr(transformers, pair.name, None)
    if made is None:
        raise NotBuiltError("transformers has no such class here")
    config = configuration(pair.type)
    if pair.task == "QUESTION_ANS":
        config.num_labels = 2
    try:
        with torch.device("meta"):
            size = sum(weight.numel() for weight in made(config).parameters())
    except Exception:
        size = 0  # it says why below
    if size > LARGEST:
        raise NotBuiltError(f"{size / 1e6:.0f} million parameters with the smallest sizes")
    try:
        torch.manual_seed(0)
        model = made(config).float().eval()
    except Exception as error:
        raise NotBuiltError(_line(error)) from error
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 2:
                weight.copy_(torch.randn_like(weight) * 0.7 / weight.shape[1] ** 0.5)
    return model


def build(pair: Pair) -> Any:
    """Return the model, which answers a text; NotBuiltError where it does not."""
    model = make(pair)
    try:
        call(model, pair, torch.tensor([TARGET]))
    except Exception as error:
        raise NotBuiltError(_line(error)) from error
    return model


TARGET, SOURCE, ANSWER = [5, 6, 7, 8, 9, 10, 12, END], [15, 16, 17, 18, END], [END, 9, 11, 13]


@torch.no_grad()
def call(model: Any, pair: Pair, ids: Tensor, **more: Any) -> Tensor:
    """Return the predictions for texts [B,T] that have no padding."""
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)} | more
    if pair.task == "SEQ_2_SEQ_LM":
        inputs["decoder_input_ids"] = torch.tensor([ANSWER]).expand(len(ids), -1)
    output = model(**inputs)
    if pair.task == "QUESTION_ANS":
        return torch.stack([output.start_logits, output.end_logits], -1)
    return output.logits


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:160]
