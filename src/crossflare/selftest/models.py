"""Tiny models of three kinds, built from configurations alone, and the measures by which a law compares two results."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from peft import PeftModel, get_peft_model
from torch import Tensor
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from crossflare.fusion.config import FlareConfig

CLOSE = 1e-3
"""Results that are equal in theory differ by less: float32 gives up to 5e-5 here, a broken law 3e-2 and more."""
SEEN = 1e-2
"""An input that must have an effect on these models has a larger effect."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One comparison; a difference that is not a number never holds."""

    what: str
    """What was compared, in words."""
    difference: float
    """The largest difference (for `differ` the smallest), as a share of the largest value if that is above 1."""
    bound: float
    least: bool = False
    """Whether the difference must be at least the bound, not at most."""

    @property
    def holds(self) -> bool:
        """Whether the difference is on the right side of its bound."""
        return self.difference >= self.bound if self.least else self.difference <= self.bound

    def __str__(self) -> str:
        """Return one line with the numbers."""
        side = "least" if self.least else "most"
        return f"{self.what}: {self.difference:.2g} apart, expected at {side} {self.bound:g}"


Measures = Iterator[Measure]


def agree(what: str, found: Tensor, expected: Tensor) -> Measure:
    """Measure two results that must be equal."""
    if found.shape != expected.shape:
        return Measure(f"{what}, shapes {tuple(found.shape)} and {tuple(expected.shape)}", float("inf"), CLOSE)
    return Measure(what, float(_apart(found, expected).max()), CLOSE)


def differ(what: str, one: Tensor, other: Tensor) -> Measure:
    """Measure two results that must differ in every row; the row that differs least counts."""
    return Measure(what, float(_apart(one, other).flatten(1).amax(1).min()), SEEN, least=True)


def _apart(one: Tensor, other: Tensor) -> Tensor:
    one, other = (each.detach().cpu().double() for each in (one, other))  # on the CPU: not all devices have float64
    return (one - other).abs() / max(1.0, float(other.abs().max()))


Kind = Literal["encoder", "decoder", "encoder-decoder"]
TASKS: dict[Kind, str] = {"encoder": "SEQ_CLS", "decoder": "CAUSAL_LM", "encoder-decoder": "SEQ_2_SEQ_LM"}
"""The kinds (like BERT, Llama and T5), and peft's name for the task of each."""
WRITERS: tuple[Kind, ...] = ("decoder", "encoder-decoder")
SETTINGS: dict[str, dict[str, Any]] = {
    "add_relu by position": {},
    "mul by attention": {"fusion": "mul", "alignment": "attention"},
    "cross_attention": {"fusion": "cross_attention"},
}
"""Adapters: one for each way in which a token finds its source."""
FEW = {name: options for name, options in SETTINGS.items() if options.get("alignment") is None}
"""The adapters for the laws that take long."""
VOCABULARY, LABELS, PAD, START = 40, 3, 1, 2
TARGETS, SOURCES, OTHERS = (7, 4, 6), (8, 5, 3), (6, 2, 9)
"""The number of tokens in each row: of the target texts, of their sources, and of other sources."""
ANSWER = 5
"""The number of tokens that the decoder of an encoder-decoder model reads."""


def build_base(kind: Kind, seed: int = 0) -> Any:
    """Return a transformers model in eval mode; its weights are large, so that every effect is visible."""
    special: dict[str, Any] = {"vocab_size": VOCABULARY, "pad_token_id": PAD, "bos_token_id": START}
    special["eos_token_id"] = None  # no answer ends early
    size: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}
    size |= {"intermediate_size": 24, "max_position_embeddings": 64, "initializer_range": 0.3}
    torch.default_generator.manual_seed(seed)
    if kind == "encoder":
        bert: dict[str, Any] = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "num_labels": LABELS}
        return BertForSequenceClassification(BertConfig(**special | size | bert)).eval()
    if kind == "decoder":
        return LlamaForCausalLM(LlamaConfig(**special | size, num_key_value_heads=2)).eval()
    sizes: dict[str, Any] = {
        "d_model": 16,
        "d_kv": 4,
        "d_ff": 24,
        "num_layers": 2,
        "num_decoder_layers": 2,
        "num_heads": 4,
    }
    t5: dict[str, Any] = {"decoder_start_token_id": PAD, "dropout_rate": 0.0, "initializer_factor": 2.0}
    t5["tie_word_embeddings"] = False
    return T5ForConditionalGeneration(T5Config(**special | sizes | t5)).eval()


def adapted(kind: Kind, device: torch.device, *, base: Any = None, **options: Any) -> PeftModel:
    """Return a model with a FLARE adapter, all its weights random; in eval mode.

    Args:
        kind: The kind of model.
        device: The device of the model; weights are drawn before the move, so that they are the same everywhere.
        base: The model to adapt; None: a new one.
        options: Options of `FlareConfig`.
    """
    config = FlareConfig(task_type=TASKS[kind], r=4, lora_alpha=8, **options)
    model = get_peft_model(base or build_base(kind), config)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if ".lora_" in name:
                noise = torch.randn(weight.shape, generator=generator) * 0.4
                weight.copy_(noise + (weight if "lora_fusion" in name else 0))  # maps that start at the identity
    return model.to(device).eval()


def rows(lengths: Sequence[int], seed: int) -> list[list[int]]:
    """Return one list of random token ids for each length."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(4, VOCABULARY, (length,), generator=generator).tolist() for length in lengths]


def pad(texts: Sequence[Sequence[int]], side: str = "right", extra: int = 0) -> dict[str, Tensor]:
    """Return ids and mask [B,T] of rows padded on one side, with `extra` columns more than the longest needs."""
    width = max(1, *(len(text) for text in texts)) + extra
    ids, mask = torch.full((len(texts), width), PAD), torch.zeros(len(texts), width, dtype=torch.long)
    for row, text in enumerate(texts):
        where = slice(0, len(text)) if side == "right" else slice(width - len(text), width)
        ids[row, where], mask[row, where] = torch.tensor(text, dtype=torch.long), 1
    return {"input_ids": ids, "attention_mask": mask}


def batch(
    kind: Kind,
    device: torch.device,
    sources: Sequence[int] | None = SOURCES,
    *,
    row: int | None = None,
    extra: int = 0,
    source_side: str = "",
    source_extra: int = 0,
) -> dict[str, Tensor]:
    """Return the inputs of a model: target texts, and sources with these lengths (0: none; None: no source at all).

    Args:
        kind: The kind of model; a decoder's texts are padded on the left.
        device: The device of the tensors.
        sources: The number of tokens of each source; the same lengths give the same texts.
        row: Return this row alone, without padding.
        extra: Columns of padding more than needed, in the target.
        source_side: The side on which the source is padded; by default, the target's.
        source_extra: Columns of padding more than needed, in the source.
    """
    side = "left" if kind == "decoder" else "right"
    picked = slice(None) if row is None else slice(row, row + 1)
    made = pad(rows(TARGETS, 1)[picked], side, extra)
    if sources is not None:
        seed = 2 + sum(sources)
        source = pad(rows(sources, seed)[picked], source_side or side, source_extra)
        made |= {f"source_{name}": tensor for name, tensor in source.items()}
    return {name: tensor.to(device) for name, tensor in made.items()}
