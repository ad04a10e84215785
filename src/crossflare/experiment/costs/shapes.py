"""The sizes of models and graphics cards, as their makers publish them: what operations are counted from."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from crossflare.errors import UserError, choose, listed
from crossflare.recipe.engines import model_place


@dataclass(frozen=True, slots=True)
class Accelerator:
    """One graphics card."""

    title: str
    flops: float
    """Peak operations a second in bfloat16, dense."""
    bandwidth: float
    """Bytes a second between its memory and its cores."""
    memory: float
    """Bytes."""


ACCELERATORS = {
    "h200": Accelerator("NVIDIA H200 141 GB", 989e12, 4.8e12, 141e9),
    "h100": Accelerator("NVIDIA H100 SXM 80 GB", 989e12, 3.35e12, 80e9),
    "a100-80gb": Accelerator("NVIDIA A100 SXM 80 GB", 312e12, 2.04e12, 80e9),
    "a100-40gb": Accelerator("NVIDIA A100 40 GB", 312e12, 1.56e12, 40e9),
    "l40s": Accelerator("NVIDIA L40S 48 GB", 362e12, 0.864e12, 48e9),
    "l4": Accelerator("NVIDIA L4 24 GB", 121e12, 0.3e12, 24e9),
    "rtx-4090": Accelerator("NVIDIA GeForce RTX 4090 24 GB", 165e12, 1.008e12, 24e9),
}
"""Name -> card."""


def find_accelerator(name: str) -> Accelerator:
    """Return a card by its name.

    Raises:
        UserError: It is not in the table.
    """
    return ACCELERATORS[choose("device", name.lower(), ACCELERATORS)]


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The sizes of a transformer. Norms, biases and positions are left out: less than half a percent."""

    encoder: int
    """Blocks that read; 0 in a decoder-only model."""
    decoder: int
    """Blocks that write; 0 in an encoder."""
    hidden: int
    ffn: int
    heads: int
    head_size: int
    vocabulary: int
    kv_heads: int = 0
    """0: as many as heads."""
    gated: bool = False
    """Whether the feed-forward layer has three matrices instead of two."""
    tied: bool = True
    """Whether the output layer is the table of embeddings."""

    @property
    def attention(self) -> int:
        """The weights of one attention: query, key, value, output."""
        inner, shared = self.heads * self.head_size, (self.kv_heads or self.heads) * self.head_size
        return 2 * self.hidden * (inner + shared)

    @property
    def feed_forward(self) -> int:
        """The weights of one feed-forward layer."""
        return (3 if self.gated else 2) * self.hidden * self.ffn

    @property
    def reading(self) -> int:
        """The weights of all blocks that read."""
        return self.encoder * (self.attention + self.feed_forward)

    @property
    def writing(self) -> int:
        """The weights of all blocks that write; beside an encoder each has a second attention."""
        return self.decoder * (self.attention * (2 if self.encoder else 1) + self.feed_forward)

    @property
    def linear(self) -> int:
        """The weights of all blocks: those that are quantised."""
        return self.reading + self.writing

    @property
    def embeddings(self) -> int:
        """The weights of the table of embeddings, and of an output layer of its own."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2)

    @property
    def weights(self) -> int:
        """All weights."""
        return self.linear + self.embeddings

    @property
    def blocks(self) -> int:
        """All blocks."""
        return self.encoder + self.decoder

    def adapter(self, rank: int, everywhere: bool) -> int:
        """Return the weights of a LoRA adapter on query and value, or on every linear layer (`everywhere`)."""
        inner, shared = self.heads * self.head_size, (self.kv_heads or self.heads) * self.head_size
        attentions = self.blocks + (self.decoder if self.encoder else 0)
        sides = 2 * self.hidden + inner + shared  # query and value: in and out
        if not everywhere:
            return rank * attentions * sides
        sides += 2 * self.hidden + inner + shared  # key and output
        return rank * (attentions * sides + self.blocks * (3 if self.gated else 2) * (self.hidden + self.ffn))


_NLLB = 256_206
"""The vocabulary of NLLB-200."""
KNOWN_SHAPES = {
    "FacebookAI/xlm-roberta-large": ModelShape(24, 0, 1024, 4096, 16, 64, 250_002),
    "FacebookAI/xlm-roberta-base": ModelShape(12, 0, 768, 3072, 12, 64, 250_002),
    "google/mt5-xl": ModelShape(24, 24, 2048, 5120, 32, 64, 250_112, gated=True, tied=False),
    "meta-llama/Llama-3.1-8B": ModelShape(0, 32, 4096, 14_336, 32, 128, 128_256, kv_heads=8, gated=True, tied=False),
    "google/gemma-2-9b": ModelShape(0, 42, 3584, 14_336, 16, 256, 256_000, kv_heads=8, gated=True),
    "facebook/nllb-200-distilled-600M": ModelShape(12, 12, 1024, 4096, 16, 64, _NLLB),
    "facebook/nllb-200-distilled-1.3B": ModelShape(24, 24, 1024, 8192, 16, 64, _NLLB),
    "facebook/nllb-200-1.3B": ModelShape(24, 24, 1024, 8192, 16, 64, _NLLB),
    "facebook/nllb-200-3.3B": ModelShape(24, 24, 2048, 8192, 16, 128, _NLLB),
}
"""The name on the hub -> the sizes in the model's published configuration."""


@cache
def shape_of(name: str) -> ModelShape:
    """Return the sizes of a model: known ones, or those in the configuration of a folder or package on this machine.

    Raises:
        UserError: It is neither, or its configuration does not say them.
    """
    if name in KNOWN_SHAPES:
        return KNOWN_SHAPES[name]
    from crossflare.training.bases.packaged import base_place

    place = Path(model_place(base_place(name)))
    if not (place / "config.json").is_file():
        raise UserError(
            f"model '{name}': its sizes are not known here; give a folder with its config.json as model.name, or one "
            f"of {listed(KNOWN_SHAPES)}"
        )
    from transformers import AutoConfig

    return _read(AutoConfig.from_pretrained(place, local_files_only=True, trust_remote_code=False), name)


def _read(config: Any, name: str) -> ModelShape:
    def size(*names: str) -> int:
        found = next((value for each in names if (value := getattr(config, each, None))), None)
        if found is None:
            raise UserError(f"model '{name}': its config.json says no {names[0]}, so its operations cannot be counted")
        return int(found)

    hidden, heads = size("hidden_size", "d_model"), size("num_attention_heads", "encoder_attention_heads")
    blocks = size("num_hidden_layers", "encoder_layers", "num_layers")
    both, writes = bool(config.is_encoder_decoder), bool(getattr(config, "num_key_value_heads", None))
    gated = writes or bool(getattr(config, "is_gated_act", False))
    return ModelShape(
        blocks if both or not writes else 0,
        size("decoder_layers", "num_decoder_layers", "num_hidden_layers") if both else blocks if writes else 0,
        hidden,
        size("intermediate_size", "d_ff", "encoder_ffn_dim"),
        heads,
        int(getattr(config, "head_dim", None) or getattr(config, "d_kv", None) or hidden // heads),
        size("vocab_size"),
        int(getattr(config, "num_key_value_heads", None) or 0),
        gated,
        bool(getattr(config, "tie_word_embeddings", True)),
    )
