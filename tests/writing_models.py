"""Tiny models that write: decoder-only and encoder-decoder, with prompts and sources, for the tests of generation."""

from typing import Any

import torch
from peft import PeftModel
from torch import Tensor
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    M2M100Config,
    M2M100ForConditionalGeneration,
    MBartConfig,
    MBartForConditionalGeneration,
    MistralConfig,
    MistralForCausalLM,
    MT5Config,
    MT5ForConditionalGeneration,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
    UMT5Config,
    UMT5ForConditionalGeneration,
)

from fusion_models import PAD, VOCABULARY, flare, pad, rows

DECODERS = ("llama", "mistral", "gemma2", "qwen3", "gpt2")
ENCODER_DECODERS = ("mt5", "m2m100", "bart")
MORE = ("qwen2", "gemma3", "t5", "umt5", "mbart")
"""Relatives of those above, for the first laws alone."""
T5S = {
    "t5": (T5Config, T5ForConditionalGeneration),
    "mt5": (MT5Config, MT5ForConditionalGeneration),
    "umt5": (UMT5Config, UMT5ForConditionalGeneration),
}
WINDOW = 4
"""Tokens that the sliding windows of Mistral and Gemma 2 see: fewer than the prompts have."""
START, END = 2, 3


def build(family: str, *, seed: int = 0, dtype: torch.dtype = torch.float64, **options: Any) -> Any:
    """Return a language model in eval mode with large random weights, so that its answers vary."""
    torch.manual_seed(seed)
    special = {"pad_token_id": PAD, "bos_token_id": START, "eos_token_id": END}
    common: dict[str, Any] = {"vocab_size": VOCABULARY, "tie_word_embeddings": False, **special}
    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24}
    decoder = {**common, **small, "num_key_value_heads": 2, "max_position_embeddings": 64, "initializer_range": 0.4}
    bart = {"d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2} | common
    bart |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "max_position_embeddings": 64}
    bart |= {"init_std": 0.4, "decoder_start_token_id": START, "forced_eos_token_id": None, "dropout": 0.0}
    if family == "llama":
        model: Any = LlamaForCausalLM(LlamaConfig(**decoder | options))
    elif family == "mistral":
        model = MistralForCausalLM(MistralConfig(**decoder | {"sliding_window": WINDOW, "head_dim": 4} | options))
    elif family == "gemma2":
        gemma = {"sliding_window": WINDOW, "head_dim": 4, "query_pre_attn_scalar": 4}
        model = Gemma2ForCausalLM(Gemma2Config(**decoder | gemma | options))
    elif family == "gemma3":
        gemma = {"sliding_window": WINDOW, "head_dim": 4, "query_pre_attn_scalar": 4}
        gemma["layer_types"] = ["sliding_attention", "full_attention"]
        model = Gemma3ForCausalLM(Gemma3TextConfig(**decoder | gemma | options))
    elif family == "qwen2":
        model = Qwen2ForCausalLM(Qwen2Config(**decoder | options))
    elif family == "qwen3":
        model = Qwen3ForCausalLM(Qwen3Config(**decoder | {"head_dim": 4} | options))
    elif family == "gpt2":
        sizes = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64, "initializer_range": 0.4}
        drops = {"attn_pdrop": 0.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0}
        model = GPT2LMHeadModel(GPT2Config(**common | sizes | drops | options))
    elif family in T5S:
        sizes = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_decoder_layers": 2, "num_heads": 2}
        t5 = {"decoder_start_token_id": PAD, "dropout_rate": 0.0, "initializer_factor": 2.0}
        config, kind = T5S[family]
        model = kind(config(**common | sizes | t5 | options))
    elif family == "m2m100":
        model = M2M100ForConditionalGeneration(M2M100Config(**bart | options))
    elif family == "mbart":
        model = MBartForConditionalGeneration(MBartConfig(**bart | options))
    else:
        model = BartForConditionalGeneration(BartConfig(**bart | options))
    with torch.no_grad():  # the answers should depend on all that is read, and not be too sure
        model.get_output_embeddings().weight.mul_(0.3 if family in T5S else 2)
    return model.to(torch.float32 if family == "gemma2" else dtype).eval()  # its masks overflow in float64


def adapted(family: str, *, base: Any = None, scale: float = 0.3, **options: Any) -> PeftModel:
    """Return a FLARE model that writes, all its adapter's weights random."""
    base = base or build(family)
    kind = "SEQ_2_SEQ_LM" if base.config.is_encoder_decoder else "CAUSAL_LM"
    model = flare(base, scale=scale, **{"task_type": kind} | options)
    model.generation_config.eos_token_id = None
    model.base_model.model.generation_config.eos_token_id = None
    return model


def prompts(
    family: str, targets: list[int], sources: list[int], *, extra: int = 0, side: str = ""
) -> dict[str, Tensor]:
    """Return padded prompts and sources with these numbers of tokens; decoder-only prompts end together."""
    before = "left" if family in (*DECODERS, "qwen2", "gemma3") else "right"
    target = pad(rows(targets, 1), side=before, extra=extra)
    source = pad(rows(sources, 2), side=side or before, extra=extra)
    return target | {f"source_{name}": tensor for name, tensor in source.items()}


def write(model: PeftModel, inputs: dict[str, Tensor], **options: Any) -> Tensor:
    """Return the new tokens of `generate` [B,N]."""
    written = model.generate(**inputs, **{"max_new_tokens": 6, "do_sample": False, "pad_token_id": PAD} | options)
    width = 1 if model.config.is_encoder_decoder else inputs["input_ids"].shape[1]
    return written[:, width:]
