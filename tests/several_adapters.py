"""Adapters of several languages, tasks and kinds on one tiny base, and rows for them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModel

import crossflare
from crossflare.disk.files import CARD, read_json
from crossflare.fusion.config import FlareConfig
from crossflare.fusion.saved.adapter_files import save_adapter
from crossflare.serving.prediction import Prediction
from crossflare.tasks.kinds import TextTask
from crossflare.training.bases.load import load_base
from tiny_adapters import LABELS, TEXTS, make_adapters


def further(folder: Path, name: str, labels: list[str], *, lora: bool = False, seed: int = 1) -> Path:
    """Save one more adapter on the base of `make_adapters`, with labels of its own."""
    shared = {"r": 3, "target_modules": ["query", "value"], "task_type": "SEQ_CLS"}
    base = load_base(str(folder / "base"), TextTask(name, 1, tuple(labels)), seed=0)
    model = get_peft_model(base.model, LoraConfig(**shared) if lora else FlareConfig(**shared))
    torch.manual_seed(seed)
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if "lora_" in key or "modules_to_save" in key:
                weight.normal_(std=0.5)
    card = read_json(folder / ("lora" if lora else "flare") / CARD)
    card = {key: value for key, value in card.items() if key not in ("base", "format")}
    card |= {"task": {"name": name, "labels": labels, "texts": 1}, "language": "jv", "max_length": 24}
    card["settings"] = {"precision": "fp32"}  # in bf16 a batch's width changes the last of few digits
    save_adapter(model, folder / name, base=base.identity, card=card)
    return folder / name


def make_several(place: Path) -> dict[str, Path]:
    """Make adapters: name -> folder."""
    folder = make_adapters(place)
    AutoModel.from_pretrained(folder / "base").save_pretrained(folder / "base")  # without the head of its own
    return {
        "sw": further(folder, "opinions", LABELS, seed=2),
        "jv": further(folder, "topics", ["food", "sport", "art", "law", "war"]),
        "ha": further(folder, "plain-opinions", LABELS, lora=True, seed=3),
        "pairs": folder / "pairs",
    }


NAMES = ["sw", "jv", "ha", "jv", "sw", "ha", "jv", "sw"]
FILLED = [text if text.strip() else "w7" for text in TEXTS]


def one_by_one(places: dict[str, Path], names: list[str], sources: list[Any] | None) -> list[Prediction]:
    """Return what each adapter, opened alone, says of each text."""
    found: list[Prediction] = []
    for row, name in enumerate(names):
        adapter = crossflare.open_adapter(places[name])
        reads = sources is not None and adapter.kind.reads == "both"
        found += adapter.predict([FILLED[row]], [sources[row]] if reads and sources else None)
    return found


def assert_alike(said: list[Prediction], alone: list[Prediction]) -> None:
    for one, other in zip(said, alone, strict=True):
        assert (one.label, one.source, one.truncated) == (other.label, other.source, other.truncated)
        assert one.probabilities == pytest.approx(dict(other.probabilities), abs=1e-5)
