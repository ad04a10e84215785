"""HuggingFace's trainers and peft's own methods on models that write: sources are columns, answers are texts."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel, PeftModelForCausalLM, PeftModelForSeq2SeqLM
from torch import Tensor
from torch.utils.data import Dataset
from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments, Trainer, TrainingArguments

import crossflare
from crossflare.fusion.saved.plain_lora import export_plain_lora
from fusion_models import pad, randomise, rows
from writing_models import adapted, build, prompts, write

TARGETS, SOURCES = [7, 4, 6], [5, 8, 3]


class Rows(Dataset[dict[str, Any]]):
    """Random texts and answers; every third has no source."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> dict[str, Any]:
        source = 0 if index % 3 == 2 else 2 + index % 4
        lengths = {"target": 3 + index % 3, "source": source, "answer": 4}
        return {name: rows([length], index + 50 * n)[0] for n, (name, length) in enumerate(lengths.items())}


def sides(examples: list[dict[str, Any]], side: str) -> dict[str, Tensor]:
    target, source = (pad([row[name] for row in examples], side=side) for name in ("target", "source"))
    return target | {f"source_{name}": tensor for name, tensor in source.items()}


def for_seq2seq(examples: list[dict[str, Any]]) -> dict[str, Tensor]:
    return sides(examples, "right") | {"labels": torch.tensor([row["answer"] for row in examples])}


def for_decoders(examples: list[dict[str, Any]]) -> dict[str, Tensor]:
    """Prompt and answer in one row; the fusion mask closes the answer."""
    both, answer = sides(examples, "left"), torch.tensor([row["answer"] for row in examples])
    prompt = both["attention_mask"]
    return both | {
        "input_ids": torch.cat([both["input_ids"], answer], 1),
        "attention_mask": torch.cat([prompt, torch.ones_like(answer)], 1),
        "fusion_mask": torch.cat([prompt, torch.zeros_like(answer)], 1),
        "labels": torch.cat([torch.full_like(prompt, -100), answer], 1),
    }


def options(folder: Path) -> dict[str, Any]:
    own = {"output_dir": str(folder), "max_steps": 1, "per_device_train_batch_size": 3, "learning_rate": 1e-2}
    own |= {"per_device_eval_batch_size": 3, "remove_unused_columns": False, "save_strategy": "no", "report_to": []}
    return own | {"use_cpu": True, "disable_tqdm": True}


def moved(model: PeftModel, trainer: Trainer) -> None:
    """Train, and check that adapter weights and nothing else changed, and that the labels made the loss."""
    before = {path: p.detach().clone() for path, p in model.named_parameters()}
    assert trainer.train().training_loss > 0
    for path, parameter in model.named_parameters():
        assert torch.equal(parameter, before[path]) != parameter.requires_grad, path


def test_seq2seq_trainer_writes_with_the_sources(tmp_path: Path) -> None:
    model = adapted("mt5", base=build("mt5", dtype=torch.float32))
    arguments = Seq2SeqTrainingArguments(**options(tmp_path), predict_with_generate=True, generation_max_length=7)
    told: dict[str, Any] = {}

    def measure(prediction: Any) -> dict[str, float]:
        told.update(written=torch.tensor(prediction.predictions), labels=torch.tensor(prediction.label_ids))
        return {"seen": 1.0}

    trainer = Seq2SeqTrainer(
        model=model, args=arguments, train_dataset=Rows(), eval_dataset=Rows(), data_collator=for_seq2seq,
        compute_metrics=measure,
    )  # fmt: skip
    moved(model, trainer)
    found = trainer.evaluate()
    assert found["eval_seen"] == 1.0
    batches = [for_seq2seq([Rows()[n] for n in numbers]) for numbers in ((0, 1, 2), (3, 4, 5))]
    model.eval()
    losses, wanted, without = [], [], []
    for batch in batches:
        with torch.no_grad():
            losses.append(float(model(**batch).loss))
        batch.pop("labels")
        alone = {name: tensor for name, tensor in batch.items() if "source" not in name}
        for inputs, texts in ((batch, wanted), (alone, without)):
            texts.append(model.generate(**inputs, max_length=7, do_sample=False))
    written = told["written"][:, :7]  # the trainer pads to its own length
    assert torch.equal(written, torch.cat(wanted))
    assert not torch.equal(written, torch.cat(without))  # the control: the sources were read
    assert torch.equal(told["labels"][:, :4], torch.tensor([Rows()[n]["answer"] for n in range(6)]))
    assert found["eval_loss"] == pytest.approx(sum(losses) / 2, abs=1e-5)


@pytest.mark.parametrize("family", ["mt5", "llama"])
def test_a_step_of_the_plain_trainer(family: str, tmp_path: Path) -> None:
    model = adapted(family, base=build(family, dtype=torch.float32))
    collate = for_seq2seq if family == "mt5" else for_decoders
    trainer = Trainer(
        model=model, args=TrainingArguments(**options(tmp_path)), train_dataset=Rows(), eval_dataset=Rows(),
        data_collator=collate,
    )  # fmt: skip
    moved(model, trainer)
    with_source = trainer.evaluate()["eval_loss"]
    batch = collate([Rows()[n] for n in range(6)])
    with torch.no_grad():
        expected = float(model.eval()(**batch).loss)
        alone = float(model(**{n: t for n, t in batch.items() if "source" not in n and n != "fusion_mask"}).loss)
    assert with_source == pytest.approx(expected, abs=1e-4)
    assert abs(alone - expected) > 1e-4


@pytest.mark.parametrize("family", ["llama", "mt5"])
def test_saved_and_loaded_models_write_the_same(family: str, tmp_path: Path) -> None:
    model, inputs = adapted(family), prompts(family, TARGETS, SOURCES)
    assert isinstance(model, PeftModelForSeq2SeqLM if family == "mt5" else PeftModelForCausalLM)
    model.save_pretrained(tmp_path)
    base = build(family)
    base.generation_config.eos_token_id = None
    loaded = PeftModel.from_pretrained(base, tmp_path).eval()
    written = write(model, inputs)
    assert torch.equal(write(loaded, inputs), written)
    again = write(loaded, {name: tensor for name, tensor in inputs.items() if "source" not in name})
    assert not torch.equal(again, written)


@pytest.mark.parametrize("family", ["llama", "mt5"])
def test_several_adapters_and_none(family: str) -> None:
    model, inputs = adapted(family), prompts(family, TARGETS, SOURCES)
    first = write(model, inputs)
    config = model.peft_config["default"]
    model.add_adapter("other", crossflare.FlareConfig(task_type=config.task_type, r=2, fusion="cross_attention"))
    randomise(model, 0.6, seed=9, adapter="other")
    assert torch.equal(write(model, inputs), first)
    model.set_adapter("other")
    second = write(model, inputs)
    assert not torch.equal(second, first)
    with model.disable_adapter():
        off = write(model, inputs)
    base = build(family)
    base.generation_config.eos_token_id = None
    plain = {name: tensor for name, tensor in inputs.items() if "source" not in name}
    assert torch.equal(off, write(base, plain))
    assert torch.equal(write(model, inputs), second)
    model.set_adapter("default")
    assert torch.equal(write(model, inputs), first)


def test_exported_lora_writes_what_the_adapter_writes_alone(tmp_path: Path) -> None:
    model, inputs = adapted("llama", fusion="add"), prompts("llama", TARGETS, SOURCES)
    export_plain_lora(model, tmp_path / "lora")
    base = build("llama")
    base.generation_config.eos_token_id = None
    stock = PeftModel.from_pretrained(base, tmp_path / "lora").eval()
    plain = {name: tensor for name, tensor in inputs.items() if "source" not in name}
    alone = write(model, plain)
    assert torch.equal(write(stock, plain), alone)
    assert not torch.equal(write(model, inputs), alone)
