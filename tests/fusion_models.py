"""Tiny models of five families, adapters with weights that are not zero, and batches, for the tests of the fusion."""

from dataclasses import dataclass
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    ModernBertConfig,
    ModernBertForSequenceClassification,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
)

import crossflare
from crossflare.fusion.frame import READING
from crossflare.fusion.functions import make_phi
from crossflare.fusions import FUSIONS

torch.set_num_threads(1)

VOCABULARY, HIDDEN, BLOCKS, LABELS, PAD = 40, 16, 2, 3, 1
FAMILIES = ("xlm-r", "bert", "distilbert", "deberta", "modernbert")
SHIFTING = ("xlm-r", "deberta", "modernbert")
"""Families whose states do not depend on where the padding is."""
WEIGHTED = tuple(name for name in FUSIONS if isinstance(make_phi(name, 2), torch.nn.Module))
WEIGHT_FREE = tuple(name for name in FUSIONS if name not in WEIGHTED)
PAIRS = [
    (fusion, alignment)
    for fusion, row in FUSIONS.items()
    for alignment in (("position", "proportional", "attention") if row.aligned else ("none",))
]
"""Every phi with every alignment it takes."""
RELATIVE_POSITIONS = 16
"""Rows of the table of relative positions that the tiny DeBERTa passes through its projections."""


def build(
    family: str, *, dropout: float = 0.0, seed: int = 0, dtype: torch.dtype = torch.float64, **options: Any
) -> Any:
    """Return a sequence classifier in eval mode; weights are larger than HuggingFace's, so that effects are visible."""
    torch.manual_seed(seed)
    sizes = {"hidden_size": HIDDEN, "num_hidden_layers": BLOCKS, "num_attention_heads": 2, "intermediate_size": 24}
    shared = {"vocab_size": VOCABULARY, "num_labels": LABELS, "pad_token_id": PAD, "initializer_range": 0.3}
    drops = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout, "classifier_dropout": dropout}
    common = shared | sizes | {"max_position_embeddings": 64}
    if family == "bert":
        model: Any = BertForSequenceClassification(BertConfig(**common | drops | options))
    elif family == "xlm-r":
        model = XLMRobertaForSequenceClassification(XLMRobertaConfig(**common | drops | options))
    elif family == "distilbert":
        small = {"dim": HIDDEN, "n_layers": BLOCKS, "n_heads": 2, "hidden_dim": 24, "max_position_embeddings": 64}
        distil = {"dropout": dropout, "attention_dropout": dropout, "seq_classif_dropout": dropout}
        model = DistilBertForSequenceClassification(DistilBertConfig(**shared | small | distil | options))
    elif family == "deberta":
        relative = {"relative_attention": True, "position_buckets": RELATIVE_POSITIONS // 2, "share_att_key": True}
        relative |= {"pos_att_type": ["c2p", "p2c"], "norm_rel_ebd": "layer_norm", "position_biased_input": False}
        drops = drops | {"pooler_dropout": dropout}
        drops.pop("classifier_dropout")
        model = DebertaV2ForSequenceClassification(DebertaV2Config(**common | relative | drops | options))
    else:
        special = {"bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3, "local_attention": 8}
        modern = {"embedding_dropout": dropout, "mlp_dropout": dropout, "attention_dropout": dropout}
        modern |= {"classifier_dropout": dropout, "initializer_cutoff_factor": 3.0}
        model = ModernBertForSequenceClassification(ModernBertConfig(**common | special | modern | options))
    return model.to(dtype).eval()


@dataclass
class Batch:
    """Target and source of one batch, with padding on a side of choice."""

    target: dict[str, Tensor]
    source: dict[str, Tensor]

    def both(self) -> dict[str, Tensor]:
        """Return the arguments of a FLARE model."""
        return self.target | {f"source_{name}": tensor for name, tensor in self.source.items()}


def rows(lengths: list[int], seed: int = 0) -> list[list[int]]:
    """Return one list of random token ids per length; 0 is an empty row."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(4, VOCABULARY, (length,), generator=generator).tolist() for length in lengths]


def pad(texts: list[list[int]], *, side: str = "right", extra: int = 0) -> dict[str, Tensor]:
    """Pad rows of token ids to the longest and `extra` further columns; padding is never the same token twice over."""
    width = max(1, *(len(text) for text in texts)) + extra
    ids = torch.full((len(texts), width), PAD)
    mask = torch.zeros(len(texts), width, dtype=torch.long)
    for row, text in enumerate(texts):
        where = slice(0, len(text)) if side == "right" else slice(width - len(text), width)
        ids[row, where] = torch.tensor(text, dtype=torch.long)
        mask[row, where] = 1
    return {"input_ids": ids, "attention_mask": mask}


def batch(targets: list[int] = [7, 4, 5], sources: list[int] = [5, 8, 3], **options: Any) -> Batch:  # noqa: B006
    """Return a batch of random tokens with these lengths per row; `options` pad the source."""
    return Batch(pad(rows(targets, 1)), pad(rows(sources, 2), **options))


def flare(base: Any, *, scale: float = 0.5, seed: int = 3, **options: Any) -> PeftModel:
    """Put a FLARE adapter on a base model, all its weights random; in eval mode."""
    config = crossflare.FlareConfig(**{"task_type": "SEQ_CLS", "r": 4, "lora_alpha": 8} | options)
    model = get_peft_model(base, config)
    randomise(model, scale, seed)
    return model.eval()


def plain_lora(base: Any, like: PeftModel) -> PeftModel:
    """Put stock LoRA on another copy of the base, with the lora_A, lora_B and head of `like`."""
    config = like.peft_config["default"]
    model = get_peft_model(
        base,
        LoraConfig(
            task_type="SEQ_CLS",
            r=config.r,
            lora_alpha=config.lora_alpha,
            target_modules=sorted(config.target_modules),
            modules_to_save=list(config.modules_to_save),
        ),
    )
    missing, unexpected = model.load_state_dict(
        {name: tensor for name, tensor in like.state_dict().items() if "lora_fusion" not in name}, strict=False
    )
    assert not missing
    assert not unexpected
    return model.eval()


@torch.no_grad()
def randomise(model: PeftModel, scale: float = 0.5, seed: int = 3, adapter: str = "default") -> None:
    """Give an adapter's own weights random values, lora_B too."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if f".{adapter}" in name.partition(".lora_")[2]:
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * scale
            parameter.copy_(noise + (parameter if "lora_fusion" in name else 0))


def logits(model: Any, inputs: dict[str, Tensor]) -> Tensor:
    """Return the logits of one call without gradients."""
    with torch.no_grad():
        return model(**inputs).logits


def calls(model: PeftModel) -> Any:
    """Return what the adapter's layers ask for the frame of their call."""
    return model.base_model.attachment.calls


def frame_of(model: PeftModel, inputs: dict[str, Tensor]) -> Any:
    """Return the frame that the fusing layers see in one call."""
    seen: list[Any] = []
    (block, *_), *_ = model.base_model.attachment.source_pass.blocks.values()
    handle = block.register_forward_hook(lambda *args: seen.append(calls(model).frame))
    model(**inputs)
    handle.remove()
    return next(frame for frame in reversed(seen) if frame is not READING)
