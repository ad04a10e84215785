import dataclasses

import pytest
import torch
from peft import LoraConfig, get_peft_model

from crossflare.errors import UserError
from crossflare.progress import display
from crossflare.tasks.example import Example, Split
from crossflare.training.loop import distributed
from crossflare.training.loop.checkpoints import copy_trained, put_trained
from crossflare.training.loop.fit import fit
from crossflare.training.loop.settings import Settings

QUICK = {"lr": 1e-2, "batch_size": 8, "max_length": 16, "precision": "fp32", "evaluations": 2}


def test_a_task_that_can_be_learnt_is_learnt(lab, new_model, split, folder) -> None:
    model = new_model(adapter=False, dropout=0.0)
    settings = Settings(**(QUICK | {"epochs": 8, "evaluations": 4}))
    outcome = lab.teach(model, split(64), split(40, "dev", 1), settings, folder)
    assert outcome.best_score is not None
    assert outcome.best_score > 0.9
    assert outcome.best_score == max(point.score for point in outcome.curve)
    assert outcome.chosen == next(point.step for point in outcome.curve if point.score == outcome.best_score)
    assert [point.step for point in outcome.curve] == [16, 32, 48, 64]
    assert outcome.curve[-1].loss < outcome.curve[0].loss / 2
    assert not model.training
    assert outcome.seconds > 0


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(lab, tmp_path) -> None:
    settings = Settings(**QUICK, epochs=1, select="last")
    torch.manual_seed(5)
    first, _ = lab.run(tmp_path / "a", settings)
    torch.manual_seed(6)
    again, _ = lab.run(tmp_path / "b", settings)
    other, _ = lab.run(tmp_path / "c", dataclasses.replace(settings, seed=1))
    assert lab.weights_of(first) == lab.weights_of(again) != lab.weights_of(other)


def test_the_best_weights_are_chosen_or_the_last(lab, tmp_path, new_model) -> None:
    """Scores fall, as the learning rate wrecks the model: the first evaluation's weights must come back."""
    weights: list[str] = []

    def score(model, precision):
        weights.append(lab.weights_of(model))
        return -float(len(weights))

    for select, index in (("best", 0), ("last", -1)):
        weights.clear()
        model = new_model()
        rows, collate = tiny_rows()
        settings = Settings(**QUICK, epochs=4, select=select)
        outcome = fit(model, rows, collate, lab.Stopping(), score, settings, tmp_path / select, {})
        assert lab.weights_of(model) == weights[index]
        assert outcome.chosen == outcome.curve[index].step
    assert weights[0] != weights[-1]


def tiny_rows():
    class Rows(list):
        names = [f"r{i}" for i in range(20)]  # noqa: RUF012
        lengths = torch.arange(20).numpy() + 1

    @dataclasses.dataclass
    class Row:
        position: int

    def collate(rows):
        positions = torch.tensor([row.position for row in rows])
        ids = (positions[:, None] + torch.arange(4)) % 60 + 4
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": positions % 2}

    return Rows(Row(i) for i in range(20)), collate


@pytest.mark.parametrize("batch_size", [5, 8])
def test_accumulated_batches_weigh_every_example_alike(new_model, lab, tmp_path, batch_size) -> None:
    """One step over 20 rows is the same in one piece, in four equal ones, and in 8 + 8 + 4."""
    rows, collate = tiny_rows()
    seen = []
    for size, accumulation in ((20, 1), (batch_size, -(-20 // batch_size))):
        model = new_model(dropout=0.0)
        settings = Settings(**(QUICK | {"batch_size": size, "accumulation": accumulation, "evaluations": 1}), epochs=1)
        outcome = fit(model, rows, collate, lab.Stopping(), None, settings, tmp_path / str(size), {})
        assert outcome.steps == 1
        seen.append((outcome.curve[0].loss, torch.cat([p.flatten() for p in model.parameters() if p.requires_grad])))
    assert seen[0][0] == pytest.approx(seen[1][0], abs=1e-6)
    # Adam's first step is the sign of the gradient times lr, wherever that is not nearly zero.
    assert (seen[0][1] - seen[1][1]).abs().max() < 1e-4


def test_activation_checkpointing_changes_memory_not_the_result(new_model, lab, tmp_path) -> None:
    settings = Settings(**QUICK, epochs=1, select="last")
    weights, calls = [], []
    for on in (False, True):
        model = new_model(dropout=0.0)
        calls.append(0)

        def count(module, *_):
            calls[-1] += module.training

        next(module for name, module in model.named_modules() if name.endswith("query")).register_forward_hook(count)
        lab.run(tmp_path / str(on), dataclasses.replace(settings, activation_checkpointing=on), model=model)
        weights.append(lab.weights_of(model))
    assert weights[0] == weights[1]
    assert calls == [5, 10]  # each is computed once more, on the way back


def test_no_epochs_only_score(lab, folder, new_model) -> None:
    model = new_model()
    before = lab.weights_of(model)
    _, outcome = lab.run(folder, Settings(**QUICK, epochs=0), model=model)
    assert lab.weights_of(model) == before
    assert (outcome.steps, len(outcome.curve)) == (0, 1)
    assert outcome.best_score is not None


def test_without_dev_the_last_weights_are_kept(lab, new_model, split, folder) -> None:
    outcome = lab.teach(new_model(), split(16), None, Settings(**QUICK, epochs=1), folder)
    assert (outcome.best_score, outcome.chosen, outcome.steps) == (None, 2, 2)
    assert all(point.score is None and point.loss > 0 for point in outcome.curve)


def test_the_loop_draws_a_bar_and_nothing_else(lab, new_model, split, folder, capsys) -> None:
    lab.teach(new_model(), split(16), None, Settings(**QUICK, epochs=1), folder)
    assert capsys.readouterr().out == ""
    with display():
        lab.teach(new_model(), split(16), None, Settings(**QUICK, epochs=1), folder / "b")
    assert capsys.readouterr().out == ""


def labelled(*labels: int | None) -> Split:
    return Split("train", "sw", tuple(Example(str(i), ("w1",), y, None, f"f.csv:{i}") for i, y in enumerate(labels)))


@pytest.mark.parametrize(
    ("rows", "setting", "says"),
    [
        (labelled(0, None), {}, "f.csv:1: row '1': expected a label from 0 to 1, got none"),
        (labelled(0, 2), {}, "f.csv:1: row '1': expected a label from 0 to 1, got 2"),
        (labelled(-1), {}, "f.csv:0: row '0': expected a label from 0 to 1, got -1"),
        (labelled(), {}, "train of sw has no rows"),
        (labelled(0, 1), {"max_length": 100}, "max_length: the model reads at most 48 tokens, got 100"),
        (labelled(0, 1), {"patience": 1}, "patience needs dev rows to score"),
    ],
)
def test_mistakes_are_refused_before_any_work(lab, new_model, folder, rows, setting, says) -> None:
    with pytest.raises(UserError) as caught:
        lab.teach(new_model(), rows, None, Settings(**(QUICK | setting)), folder)
    assert says in str(caught.value)
    assert not folder.exists()


def test_nothing_to_train_is_refused(lab, new_model, folder) -> None:
    model = new_model(adapter=False).requires_grad_(False)
    with pytest.raises(UserError, match="nothing to train: no parameter requires a gradient"):
        lab.teach(model, labelled(0, 1), None, Settings(**QUICK), folder)


def test_no_rows_are_refused(lab, new_model, folder) -> None:
    rows, collate = tiny_rows()
    rows.clear()
    with pytest.raises(UserError, match="there are no training rows; check the split"):
        fit(new_model(), rows, collate, lab.Stopping(), None, Settings(**QUICK), folder, {})
    assert not folder.exists()


def test_processes_that_would_train_otherwise_are_refused_before_a_step(lab, folder, monkeypatch) -> None:
    def meet(word):
        return [word, word, word | {"seed": "another", "base": "another"}]

    loss = lab.Stopping()
    monkeypatch.setattr(distributed, "meet", meet)
    with pytest.raises(UserError, match="processes 0 and 2 of the run differ in base, seed; start them alike"):
        lab.run(folder, Settings(**QUICK, epochs=1), loss=loss)
    assert loss.calls == 0


def test_weights_of_another_model_are_not_put_in_place(lab, new_model) -> None:
    model, own = new_model(), copy_trained(new_model(1))
    before, first = lab.weights_of(model), min(own)
    for wrong in (
        {name: tensor for name, tensor in own.items() if name != first},
        own | {"more": torch.ones(1)},
        own | {first: own[first][:1, :1]},
    ):
        with pytest.raises(UserError, match=r"the checkpoint's weights are not this model's: 1 differ, first \S+"):
            put_trained(model, wrong)
    assert lab.weights_of(model) == before
    put_trained(model, own)
    assert lab.weights_of(model) == lab.weights_of(new_model(1)) != before


def test_two_adapters_of_unlike_settings_are_told_apart(lab, new_model, folder) -> None:
    """lora_alpha is in no tensor; still it makes another run."""
    for alpha in (4, 8):
        model = get_peft_model(
            new_model(adapter=False), LoraConfig(r=2, lora_alpha=alpha, target_modules=["query"], task_type="SEQ_CLS")
        )
        if alpha == 4:
            lab.teach(model, labelled(0, 1), None, Settings(**QUICK, epochs=1), folder)
    with pytest.raises(UserError, match="another run: adapter was"):
        lab.teach(model, labelled(0, 1), None, Settings(**QUICK, epochs=1), folder)


def test_out_of_memory_says_what_to_set(lab, folder) -> None:
    loss = lab.Stopping(2, lambda: torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(UserError, match="too little memory for batch_size 8; set batch_size: 4 and accumulation: 2"):
        lab.run(folder, Settings(**QUICK, epochs=1), loss=loss)


def test_the_models_own_switches_come_back(lab, new_model, split, folder) -> None:
    model = new_model()
    model.config.use_cache = True
    forward = model.forward
    lab.teach(model, split(16), None, Settings(**QUICK, epochs=1), folder)
    assert model.config.use_cache is True
    assert model.forward == forward


def test_the_rows_of_an_item_meet_the_model_in_one_batch(lab, new_model, folder) -> None:
    rows, collate = tiny_rows()
    seen = []

    def watched(batch):
        seen.append([row.position for row in batch])
        return collate(batch)

    settings = Settings(**(QUICK | {"epochs": 1}))
    fit(new_model(), rows, watched, lab.Stopping(), None, settings, folder, {}, group=4)
    assert sorted(len(batch) for batch in seen) == [4, 8, 8]
    for batch in seen:
        for begin in range(0, len(batch), 4):
            assert batch[begin] % 4 == 0
            assert batch[begin : begin + 4] == list(range(batch[begin], batch[begin] + 4))
    with pytest.raises(UserError, match=r"multiple of 3.*take 6 or 9"):
        fit(new_model(), rows, watched, lab.Stopping(), None, settings, folder / "other", {}, group=3)
