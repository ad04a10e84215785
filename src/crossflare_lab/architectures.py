"""The real architectures of transformers, small: XLM-R, Llama, mT5 and M2M-100, with weights drawn from a seed."""

import math
from typing import Any

import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    M2M100Config,
    M2M100ForConditionalGeneration,
    MT5Config,
    MT5ForConditionalGeneration,
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
)

from crossflare import devices
from crossflare_lab.tokenizer import LONGEST, Family

HEADS = 4
_SPREAD = 0.06
"""Standard deviation of the initial weights: the usual 0.02 is for models ten times as wide."""


def build(family: Family, tokenizer: Any, width: int, layers: int, seed: int) -> Any:
    """Return an untrained model.

    Args:
        family: Which architecture.
        tokenizer: Provides the size of the vocabulary and the special tokens.
        width: d, a multiple of 8.
        layers: L; for two stacks, the layers of each.
        seed: Seed of the weights; the global generators are left as they are.
    """
    special = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    size: dict[str, Any] = {"vocab_size": len(tokenizer), **special}
    with devices.seeded(seed):
        if family == "encoder":
            model = XLMRobertaForMaskedLM(
                XLMRobertaConfig(
                    hidden_size=width, num_hidden_layers=layers, num_attention_heads=HEADS, intermediate_size=4 * width,
                    max_position_embeddings=LONGEST + tokenizer.pad_token_id + 1, type_vocab_size=1,
                    hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, layer_norm_eps=1e-5,
                    bos_token_id=tokenizer.bos_token_id, initializer_range=_SPREAD, **size,
                )
            )  # fmt: skip
            _start_with_waves(model.roberta.embeddings.position_embeddings.weight)
            return model
        if family == "decoder":
            return LlamaForCausalLM(
                LlamaConfig(
                    hidden_size=width, num_hidden_layers=layers, num_attention_heads=HEADS,
                    num_key_value_heads=HEADS // 2, intermediate_size=3 * width, max_position_embeddings=LONGEST,
                    bos_token_id=tokenizer.bos_token_id, tie_word_embeddings=True,
                    initializer_range=_SPREAD, **size,
                )
            )  # fmt: skip
        if family == "encoder-decoder":
            return MT5ForConditionalGeneration(
                MT5Config(
                    d_model=width, num_layers=layers, num_decoder_layers=layers, num_heads=HEADS, d_kv=width // HEADS,
                    d_ff=2 * width, dropout_rate=0.0, decoder_start_token_id=tokenizer.pad_token_id, **size,
                )
            )  # fmt: skip
        return M2M100ForConditionalGeneration(
            M2M100Config(
                d_model=width, encoder_layers=layers, decoder_layers=layers, encoder_attention_heads=HEADS,
                decoder_attention_heads=HEADS, encoder_ffn_dim=2 * width, decoder_ffn_dim=2 * width, dropout=0.0,
                attention_dropout=0.0, activation_dropout=0.0, encoder_layerdrop=0.0, decoder_layerdrop=0.0,
                max_position_embeddings=LONGEST, decoder_start_token_id=tokenizer.eos_token_id,
                bos_token_id=tokenizer.bos_token_id, init_std=_SPREAD, **size,
            )
        )  # fmt: skip


def _start_with_waves(positions: torch.Tensor) -> None:
    """Fill [P,d] learnt position embeddings with sines and cosines.

    With random ones, a model learns again at every position that one word follows another: the text is too short for
    that.
    """
    count, width = positions.shape
    speeds = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    angles = torch.arange(count)[:, None] * speeds
    with torch.no_grad():
        positions.copy_(torch.stack([angles.sin(), angles.cos()], -1).flatten(1) * math.sqrt(2) * _SPREAD)
