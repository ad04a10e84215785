"""transformers' Trainer with its defaults: the source reaches the model, and predictions are the model's own logits."""

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import PeftModel
from torch import Tensor
from transformers import EvalPrediction, Seq2SeqTrainer, Seq2SeqTrainingArguments, Trainer, TrainingArguments

from fusion_models import batch, build, flare, logits
from writing_models import adapted, prompts, write
from writing_models import build as build_writer

INPUTS = batch([7, 4, 5], [5, 8, 0]).both()


def rows(inputs: dict[str, Tensor], **more: Any) -> Dataset:
    count = len(inputs["input_ids"])
    return Dataset.from_list([{n: t[at].tolist() for n, t in inputs.items()} | more for at in range(count)])


def model() -> PeftModel:
    return flare(build("bert", dtype=torch.float32))


def trainer(folder: Path, trained: PeftModel, data: Dataset, **more: Any) -> Trainer:
    options: dict[str, Any] = {"report_to": [], "disable_tqdm": True, "save_strategy": "no", "max_steps": 1}
    return Trainer(trained, TrainingArguments(str(folder), **options), train_dataset=data, eval_dataset=data, **more)


def after_training(folder: Path, data: Dataset) -> dict[str, Tensor]:
    trained = model()
    trainer(folder, trained, data).train()
    return {name: weight.detach() for name, weight in trained.named_parameters() if "lora_B" in name}


def test_training_reads_the_source(tmp_path: Path) -> None:
    with_source = after_training(tmp_path, rows(INPUTS, labels=1))
    without = after_training(tmp_path, rows({n: t for n, t in INPUTS.items() if "source" not in n}, labels=1))
    assert any(not torch.allclose(with_source[name], without[name]) for name in with_source)


@pytest.mark.parametrize("source", [True, False])
def test_predictions_and_metrics_are_those_of_the_target(source: bool, tmp_path: Path) -> None:
    given = INPUTS if source else {name: tensor for name, tensor in INPUTS.items() if "source" not in name}
    made, seen = model(), []

    def measure(prediction: EvalPrediction) -> dict[str, float]:
        seen.append(prediction.predictions)
        return {"rows": len(prediction.predictions)}

    ready = trainer(tmp_path, made, rows(given, labels=1), compute_metrics=measure)
    assert ready.label_names == ["labels"]
    assert ready.evaluate()["eval_rows"] == 3
    torch.testing.assert_close(torch.tensor(seen[0]), logits(made, given), rtol=0, atol=1e-5)


def test_written_predictions_read_the_source(tmp_path: Path) -> None:
    made = adapted("bart", base=build_writer("bart", dtype=torch.float32), alignment="attention")
    inputs = prompts("bart", [5, 3], [4, 6])
    options: dict[str, Any] = {"report_to": [], "disable_tqdm": True, "predict_with_generate": True}
    ready = Seq2SeqTrainer(made, Seq2SeqTrainingArguments(str(tmp_path), **options))
    found = ready.predict(rows(inputs, labels=[5, 6, 7]), max_new_tokens=6, do_sample=False).predictions
    assert torch.equal(torch.tensor(found)[:, 1:7], write(made, inputs))
