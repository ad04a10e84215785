"""HuggingFace's Trainer, unchanged: sources are keys of the batch; saving and resuming are its own."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments

from fusion_models import Batch, build, flare, pad, rows

pytestmark = pytest.mark.slow


class Rows(Dataset[dict[str, Any]]):
    """Random texts; every third has no source."""

    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: int) -> dict[str, Any]:
        source = 0 if index % 3 == 0 else 2 + index % 4
        return {"target": rows([3 + index % 5], index)[0], "source": rows([source], index + 50)[0], "label": index % 3}


def collate(examples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    both = Batch(pad([row["target"] for row in examples]), pad([row["source"] for row in examples]))
    return both.both() | {"labels": torch.tensor([row["label"] for row in examples])}


def trainer(folder: Path, steps: int, **options: Any) -> Trainer:
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=4,
        learning_rate=1e-2,
        lr_scheduler_type="constant",
        remove_unused_columns=False,
        save_steps=2,
        logging_steps=1,
        report_to=[],
        use_cpu=True,
        seed=1,
        disable_tqdm=True,
    )
    model = flare(build("bert", dtype=torch.float32), scale=0.1, **options)
    return Trainer(model=model, args=arguments, train_dataset=Rows(), data_collator=collate)


def tensors(model: Any) -> dict[str, torch.Tensor]:
    return {name: parameter.detach() for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("fusion", ["add_relu", "cross_attention"])
def test_train_save_resume(fusion: str, tmp_path: Path) -> None:
    whole = trainer(tmp_path / "whole", 4, fusion=fusion)
    before = {name: tensor.clone() for name, tensor in tensors(whole.model).items()}
    whole.train()
    after = tensors(whole.model)
    assert all(tensor.isfinite().all() for tensor in after.values())
    assert all(not torch.equal(before[name], after[name]) for name in after if "lora_" in name)
    trainer(tmp_path / "parts", 2, fusion=fusion).train()
    resumed = trainer(tmp_path / "parts", 4, fusion=fusion)
    resumed.train(resume_from_checkpoint=str(tmp_path / "parts" / "checkpoint-2"))
    for name, tensor in tensors(resumed.model).items():
        torch.testing.assert_close(tensor, after[name], rtol=0, atol=1e-6, msg=name)
    loaded = PeftModel.from_pretrained(build("bert", dtype=torch.float32), tmp_path / "whole" / "checkpoint-4")
    given = collate([Rows()[index] for index in range(4)])
    del given["labels"]
    with torch.no_grad():
        assert torch.equal(loaded.eval()(**given).logits, whole.model.eval()(**given).logits)


def test_evaluation_gives_the_models_own_prediction(tmp_path: Path) -> None:
    assert trainer(tmp_path, 1).predict(Rows()).predictions.shape == (16, 3)
