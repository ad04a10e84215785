"""Trained adapters with their cards on a tiny base model, as `crossflare run` leaves them, and rows to predict."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from crossflare.disk.files import commit_dir
from crossflare.fusion.config import FlareConfig
from crossflare.fusion.identity import BaseIdentity
from crossflare.fusion.saved.adapter_files import load_adapter, save_adapter
from crossflare.tasks.kinds import TextTask
from crossflare.training.bases.load import load_base

LABELS = ["bad", "good", "so-so, maybe"]
WORDS = [f"w{number}" for number in range(40)]
TEXTS = ["w1 w2 w3", "", "w30", "  ", "w4 " * 100, "w9 w8 w7 w6", "w1 w2 w3", "unknown words"]
SOURCES = ["w21 w22", "w23", "", "w24", "w25 w26 w27", "w28", "w39 w38 w37", "w29"]


def make_adapters(place: Path) -> Path:
    """Make a tiny base model, and beside it a FLARE adapter, a LoRA adapter and an adapter on pairs."""
    make_base(place)
    shared = {"r": 4, "target_modules": ["query", "value"], "task_type": "SEQ_CLS", "modules_to_save": ["classifier"]}
    kinds = {"flare": FlareConfig(**shared), "lora": LoraConfig(**shared), "pairs": FlareConfig(**shared)}
    for name, config in kinds.items():
        base = load_base(str(place / "base"), TextTask("opinions", 1, tuple(LABELS)), seed=0)
        kind = "lora" if name == "lora" else "flare"
        _save(place, name, get_peft_model(base.model, config), base.identity, kind)
    return place


def make_base(place: Path) -> None:
    """Make a tiny base model with its tokenizer."""
    torch.set_num_threads(1)
    vocabulary = {token: index for index, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    rules = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    rules.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    rules.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokens = PreTrainedTokenizerFast(tokenizer_object=rules, pad_token="[PAD]", unk_token="[UNK]", model_max_length=48)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=48, initializer_range=0.5, num_labels=3,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(place / "base")
    tokens.save_pretrained(place / "base")


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def make_chained(place: Path) -> Path:
    """Make a base, stage 1 on it, LoRA through a related language on that, and adapters on both, one below the other.

    Their ranks, scales and layers differ. `stage1`, `through`, `lora`, `flare` and `add` (FLARE with phi `add`).
    """
    make_base(place)
    head = {"task_type": "SEQ_CLS", "modules_to_save": ["classifier"]}
    narrow = {"r": 4, "lora_alpha": 6, "target_modules": ["query", "value"]} | head
    wide = {"r": 2, "lora_alpha": 3, "target_modules": ["query", "dense"]} | head
    chain: dict[str, tuple[str | None, Any]] = {
        "stage1": (None, LoraConfig(**wide)),
        "through": ("stage1", LoraConfig(**narrow, use_rslora=True)),
        "lora": ("through", LoraConfig(**wide)),
        "flare": ("stage1", FlareConfig(**narrow)),
        "add": ("stage1", FlareConfig(**narrow, fusion="add")),
    }
    for name, (below, config) in chain.items():
        base = load_base(str(place / "base"), TextTask("opinions", 1, tuple(LABELS)), seed=0)
        model = base.model
        if below is not None:
            model = load_adapter(model, place / below, base=base.identity).merge_and_unload()
        kind = "flare" if isinstance(config, FlareConfig) else name.replace("through", "lora")
        _save(place, name, get_peft_model(model, config), base.identity, kind, below)
    return place


def _save(place: Path, name: str, model: Any, base: BaseIdentity, kind: str, below: str | None = None) -> None:
    """Give an adapter random weights and save it with its card."""
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if "lora_" in key or "modules_to_save" in key:
                weight.normal_(std=0.5)
    card = {
        "task": {"name": "opinions", "labels": LABELS, "texts": 2 if name == "pairs" else 1},
        "kind": kind,
        "source": "en",
        "language": "en" if kind == "stage1" else "sw",
        "model": {"name": str(place / "base"), "revision": None},
        "max_length": 16,
        "seed": 0,
    }
    save_adapter(model, place / name, base=base, card=card, source_task=place / below if below else None)


def with_card(place: Path, out: Path, **changes: Any) -> Path:
    """Copy an adapter without a stage 1, its card changed, as if another recipe had trained it."""

    def fill(folder: Path) -> None:
        shutil.copytree(place, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("manifest.json"))
        card = folder / "crossflare.json"
        card.write_text(json.dumps(json.loads(card.read_text()) | changes))

    commit_dir(out, fill)
    return out
