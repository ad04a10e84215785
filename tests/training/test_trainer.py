"""The methods of transformers' Trainer that are overridden, as read in 5.23."""

import inspect

import pytest
from transformers import Trainer, TrainingArguments

from crossflare.training.trainer import SafeTrainer

SEAMS = {
    "_get_train_sampler": ["self", "train_dataset"],
    "get_batch_samples": ["self", "epoch_iterator", "num_batches", "device"],
    "compute_loss": ["self", "model", "inputs", "return_outputs", "num_items_in_batch"],
    "_clip_grad_norm": ["self", "model"],
    "_save_checkpoint": ["self", "model", "trial"],
    "_load_from_checkpoint": ["self", "resume_from_checkpoint", "model"],
    "_load_optimizer_and_scheduler": ["self", "checkpoint"],
    "_load_rng_state": ["self", "checkpoint"],
    "_load_scaler": ["self", "checkpoint"],
}


@pytest.mark.parametrize("name", SEAMS)
def test_trainer_still_has_what_is_overridden(name: str) -> None:
    assert list(inspect.signature(getattr(Trainer, name)).parameters) == SEAMS[name]
    assert name in vars(SafeTrainer)
    assert list(inspect.signature(getattr(SafeTrainer, name)).parameters) == SEAMS[name]


def test_every_overridden_method_is_listed() -> None:
    ours = {name for name in vars(SafeTrainer) if hasattr(Trainer, name) and not name.startswith("__")}
    assert ours == {*SEAMS, "evaluate"}


def test_the_loop_calls_the_seams() -> None:
    loop = inspect.getsource(Trainer)
    for name in ("_clip_grad_norm(model)", "_save_checkpoint(model, trial)", "_load_rng_state(resume_from_checkpoint)"):
        assert f"self.{name}" in loop
    assert "logging_nan_inf_filter" in TrainingArguments.__dataclass_fields__
