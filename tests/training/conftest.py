"""A tiny encoder with dropout and an adapter, its tokenizer, and a task that it can learn; all made on the spot."""

import gc
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from crossflare.tasks.example import Example, Split
from crossflare.tasks.kinds import TextTask
from crossflare.training.forms.choosing import HeadForm
from crossflare.training.forms.protocol import Choices, Outputs
from crossflare.training.loop.checkpoints import tensors_digest, trained
from crossflare.training.loop.fit import fit
from crossflare.training.loop.settings import Settings
from crossflare.training.train import train

WORDS = [f"w{number}" for number in range(60)]
TASK = TextTask("halves", 1, ("low", "high"))


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what is most of a tiny run: flushing, which is tested with the files module, and cleaning up."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    monkeypatch.setattr(gc, "collect", lambda *_: 0)


def make_tokenizer(side: str = "right") -> PreTrainedTokenizerFast:
    vocabulary = {token: index for index, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    rules = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    rules.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    rules.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=rules, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        padding_side=side, model_max_length=48, model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )  # fmt: skip


def make_model(seed: int = 0, *, dropout: float = 0.1, adapter: bool = True) -> Any:
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=64, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=48, num_labels=2, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout,
    )  # fmt: skip
    model = BertForSequenceClassification(config)
    if not adapter:
        return model
    return get_peft_model(
        model, LoraConfig(r=2, target_modules=["query", "value"], task_type="SEQ_CLS", lora_dropout=dropout)
    )


def make_split(rows: int, part: str = "train", seed: int = 0) -> Split:
    """Return rows whose label says whether most words come from the first half of the vocabulary."""
    random = torch.Generator().manual_seed(seed)
    examples = []
    for number in range(rows):
        label = number % 2
        length = int(torch.randint(1, 12, (1,), generator=random))
        low = 30 * label
        words = [WORDS[int(w)] for w in torch.randint(low, low + 30, (length,), generator=random)]
        examples.append(Example(f"{part}-{number}", (" ".join(words),), label, (" ".join(reversed(words)),)))
    return Split(part, "sw", tuple(examples))


@pytest.fixture(scope="session")
def new_model() -> Callable[..., Any]:
    return make_model


@pytest.fixture(scope="session")
def tokenizers() -> dict[str, PreTrainedTokenizerFast]:
    return {side: make_tokenizer(side) for side in ("left", "right")}


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    return make_tokenizer()


@pytest.fixture
def model() -> Any:
    return make_model()


@pytest.fixture
def split() -> Callable[..., Split]:
    return make_split


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run"


def head_form() -> HeadForm:
    return HeadForm(TASK, make_tokenizer(), 16, with_source=False)


def accuracy(outputs: Outputs, split: Split) -> float:
    """Return the share of right labels."""
    assert isinstance(outputs, Choices)
    return float((outputs.predicted == [-1 if example.label is None else example.label for example in split]).mean())


class Stop(RuntimeError):
    """Stands for a kill: nothing in the package catches it."""


class Stopping:
    """The loss of classifiers, which breaks off at its `at`-th call, counted from 1."""

    def __init__(self, at: int | None = None, error: Callable[[], BaseException] = Stop) -> None:
        self.at, self.error, self.calls = at, error, 0

    def __call__(self, model: Any, batch: dict[str, torch.Tensor], step: int = 0) -> torch.Tensor:
        self.calls += 1
        if self.calls == self.at:
            raise self.error()
        return head_form().loss(model, batch)


def run(folder: Path, settings: Settings, *, loss: Any = None, model: Any = None, **more: Any) -> Any:
    """Train a fresh model on 40 rows, scored on 20, and return it with the outcome."""
    model = model if model is not None else make_model()
    form, dev = head_form(), make_split(20, "dev", 1)
    rows, dev_rows = form.encode(make_split(40).examples), form.encode(dev.examples)

    def score(model: Any, precision: Any) -> float:
        return accuracy(form.read(model, dev.examples, dev_rows, 8, precision, "scoring"), dev)

    outcome = fit(model, rows, form.collate, loss or form.loss, score, settings, folder, {"data": "tiny"}, **more)
    return model, outcome


def teach(model: Any, rows: Split, dev: Split | None, settings: Settings, folder: Path, **more: Any) -> Any:
    """Train a classifier through the recipe."""
    form, tokenizer = HeadForm(TASK, make_tokenizer(), settings.max_length, with_source=False), make_tokenizer()
    return train(model, rows, dev, tokenizer, form, settings, folder, measure=accuracy, identity={}, **more)


def weights_of(model: Any) -> str:
    return tensors_digest(dict(trained(model)))


@pytest.fixture(scope="session")
def lab() -> SimpleNamespace:
    return SimpleNamespace(
        run=run, teach=teach, Stop=Stop, Stopping=Stopping, weights_of=weights_of, head_form=head_form,
        make_split=make_split,
    )  # fmt: skip
