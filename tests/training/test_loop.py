"""The training loop makes the steps of transformers' Trainer, and leaves a model as it came but for its weights."""

import gc
import weakref
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils.data import IterableDataset
from transformers import Trainer, TrainingArguments

from crossflare.training.loop.batching import step_rows
from crossflare.training.loop.fit import fit
from crossflare.training.loop.loop import new_optimizer
from crossflare.training.loop.settings import Settings
from family_models import make
from training.conftest import head_form, make_split

COLLECT = gc.collect
SETTINGS = Settings(
    lr=1e-2, epochs=3, batch_size=8, warmup=0.2, weight_decay=0.1, clip=0.01, max_length=16, precision="fp32",
    evaluations=1, select="last",
)  # fmt: skip


class Ordered(IterableDataset[Any]):
    """Rows in the order in which the loop takes them; Trainer shuffles no stream."""

    def __iter__(self) -> Iterator[Any]:
        rows = head_form().encode(make_split(40).examples)
        for places in step_rows(rows.lengths, SETTINGS, 1, 0, 15):
            yield from (rows[place] for place in places)


class OurLoss(Trainer):
    """Trainer with the form's loss."""

    def compute_loss(self, model: Any, inputs: Any, *_: Any, **__: Any) -> torch.Tensor:
        return head_form().loss(model, inputs)


@pytest.mark.parametrize("adapter", [True, False])
def test_the_steps_are_trainer_s(lab: Any, new_model: Any, tmp_path: Any, adapter: bool) -> None:
    """Optimizer, decay, clipping and schedule, with an adapter and with all weights trained, to the last bit."""
    ours, theirs = (new_model(adapter=adapter, dropout=0.0) for _ in range(2))
    start = lab.weights_of(ours)
    arguments = TrainingArguments(
        str(tmp_path / "theirs"), max_steps=15, per_device_train_batch_size=8, learning_rate=1e-2, warmup_steps=3,
        weight_decay=0.1, max_grad_norm=0.01, lr_scheduler_type="linear", optim="adamw_torch_fused", save_strategy="no",
        report_to="none", disable_tqdm=True, remove_unused_columns=False, use_cpu=True, logging_strategy="no",
    )  # fmt: skip
    OurLoss(theirs, arguments, train_dataset=Ordered(), data_collator=head_form().collate).train()
    for parameter in ours.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.ones_like(parameter)  # left by whoever had the model before
    lab.run(tmp_path / "ours", SETTINGS, model=ours)
    assert lab.weights_of(ours) == lab.weights_of(theirs) != start


@pytest.mark.parametrize("family", ["t5", "llama", "gpt-neox", "mdeberta"])
def test_what_decays_is_what_decays_in_trainer(family: str, tmp_path: Any) -> None:
    model = make(family, dtype=torch.float32)
    theirs = Trainer(model, TrainingArguments(str(tmp_path), weight_decay=0.1, report_to="none", use_cpu=True))
    groups = [[id(p) for p in group["params"]] for group in theirs.create_optimizer().param_groups]
    ours = new_optimizer(model, SETTINGS).param_groups
    assert [[id(p) for p in group["params"]] for group in ours] == groups
    assert [group["weight_decay"] for group in ours] == [0.1, 0.0]
    assert all(groups)


@pytest.mark.parametrize("keeps", [True, False])
def test_a_model_has_no_cache_in_training_and_its_own_setting_after(
    lab: Any, new_model: Any, folder: Any, keeps: bool
) -> None:
    model, seen = new_model(), []
    model.config.use_cache = keeps

    def loss(model: Any, batch: Any, step: int) -> Any:
        seen.append(model.config.use_cache)
        return head_form().loss(model, batch)

    lab.run(folder, SETTINGS, model=model, loss=loss)
    assert set(seen) == {False}
    assert model.config.use_cache is keeps


def test_a_training_has_the_memory_of_the_models_before(
    lab: Any, new_model: Any, tmp_path: Any, monkeypatch: Any
) -> None:
    """A model that nobody has any more but itself, as with FLARE, is found before the next one grows."""
    monkeypatch.setattr(gc, "collect", COLLECT)  # which the other tests do without
    model = new_model()
    model.circle = [model]
    weight = weakref.ref(next(model.parameters()))
    gc.disable()
    try:
        del model
        assert weight() is not None
        lab.run(tmp_path / "run", SETTINGS)
        assert weight() is None
    finally:
        gc.enable()


def test_no_evaluation_mode_from_outside_takes_dropout_away(new_model: Any, folder: Any) -> None:
    modes: list[bool] = []
    form = head_form()

    def loss(model: Any, batch: Any, step: int) -> torch.Tensor:
        modes.append(model.training)
        return form.loss(model, batch)

    def score(model: Any, precision: str) -> float:
        model.eval()
        return 0.0

    settings = replace(SETTINGS, evaluations=3)
    fit(new_model().eval(), form.encode(make_split(40).examples), form.collate, loss, score, settings, folder, {})
    assert modes == [True] * 15


def test_an_epoch_draws_one_random_number_so_that_seeds_mean_what_they_meant(
    lab: Any, new_model: Any, folder: Any
) -> None:
    """Loaders of earlier versions drew it; dropout comes after it."""
    drawn: list[torch.Tensor] = []

    def loss(model: Any, batch: Any, step: int) -> torch.Tensor:
        drawn.append(torch.get_rng_state())
        return head_form().loss(model, batch)

    lab.run(folder, SETTINGS, model=new_model(dropout=0.0), loss=loss)
    torch.manual_seed(SETTINGS.seed)
    for step, state in enumerate(drawn):
        if step % 5 == 0:
            torch.empty((), dtype=torch.int64).random_()
        assert torch.equal(state, torch.get_rng_state())
    assert len(drawn) == 15
