"""A run that is broken off anywhere and started again ends with the very bytes of an undisturbed one."""

import errno
import json
import os
import shutil
import signal
import warnings

import pytest
import torch

from crossflare.errors import UserError
from crossflare.training.loop import checkpoints
from crossflare.training.loop.settings import Settings
from lanes import only

BASE = {
    "lr": 1e-2, "epochs": 2, "batch_size": 8, "evaluations": 2, "max_length": 16, "precision": "fp32", "select": "last",
}  # fmt: skip
ALWAYS = Settings(**BASE, save_steps=1)


@pytest.fixture(scope="module")
def whole(lab, tmp_path_factory):
    """Weights and outcome of the undisturbed run."""
    model, outcome = lab.run(tmp_path_factory.mktemp("whole") / "run", Settings(**BASE))
    return lab.weights_of(model), outcome


@pytest.mark.parametrize("at", only([1, 5, 6, 9], [1, 6]))
def test_broken_off_and_resumed_gives_the_same_weights_and_curve(lab, whole, folder, at) -> None:
    with pytest.raises(lab.Stop):
        lab.run(folder, ALWAYS, loss=lab.Stopping(at))
    model, outcome = lab.run(folder, ALWAYS)
    assert lab.weights_of(model) == whole[0]
    assert (outcome.curve, outcome.best_score, outcome.chosen) == (whole[1].curve, whole[1].best_score, whole[1].chosen)
    assert outcome.resumed_from == (at - 1 or None)


@pytest.mark.parametrize(
    "setting", [{"precision": "bf16", "select": "best"}, {"accumulation": 3, "epochs": 2.5, "evaluations": 3}]
)
def test_so_it_does_with_other_settings(lab, folder, tmp_path, setting) -> None:
    settings = Settings(**(BASE | setting), save_steps=1)
    model, outcome = lab.run(tmp_path / "whole", settings)
    broken = 0
    for at in (4, 3):
        try:
            lab.run(folder, settings, loss=lab.Stopping(at))
        except lab.Stop:
            broken += 1
    again, resumed = lab.run(folder, settings)
    assert broken == 2
    assert lab.weights_of(again) == lab.weights_of(model)
    assert resumed.curve == outcome.curve


def test_rare_checkpoints_only_cost_time(lab, whole, folder) -> None:
    settings = Settings(**BASE, save_steps=4)
    with pytest.raises(lab.Stop):
        lab.run(folder, settings, loss=lab.Stopping(8))
    model, outcome = lab.run(folder, settings)
    assert outcome.resumed_from == 5  # an evaluation saves, too
    assert lab.weights_of(model) == whole[0]


def test_a_finished_run_is_not_run_again(lab, whole, folder) -> None:
    lab.run(folder, ALWAYS)
    loss = lab.Stopping()
    model, outcome = lab.run(folder, ALWAYS, loss=loss)
    assert loss.calls == 0
    assert lab.weights_of(model) == whole[0]
    assert outcome.curve == whole[1].curve


def test_patience_that_ran_out_stays_so(lab, folder) -> None:
    settings = Settings(**(BASE | {"lr": 1e-9, "evaluations": 5, "patience": 2, "select": "best"}))
    _, outcome = lab.run(folder, settings)
    assert (outcome.steps, outcome.chosen, len(outcome.curve)) == (6, 2, 3)
    loss = lab.Stopping()
    _, again = lab.run(folder, settings, loss=loss)
    assert loss.calls == 0
    assert (again.steps, again.curve) == (outcome.steps, outcome.curve)


def test_the_newest_two_are_kept(lab, folder) -> None:
    lab.run(folder, ALWAYS)
    assert sorted(path.name for path in folder.glob("*step*")) == ["step-00000009", "step-00000010"]


def damage(path, how: str) -> None:
    victim = path / "weights.safetensors"
    if how == "flipped":
        data = bytearray(victim.read_bytes())
        data[-1] ^= 1
        victim.write_bytes(bytes(data))
    elif how == "missing":
        victim.unlink()
    elif how == "no manifest":
        (path / "manifest.json").unlink()
    else:
        shutil.rmtree(path)
        path.mkdir()


@pytest.mark.parametrize("how", only(["flipped", "missing", "no manifest", "empty"], ["flipped", "missing"]))
def test_a_damaged_newest_falls_back_to_the_older_and_says_so(lab, whole, folder, how) -> None:
    with pytest.raises(lab.Stop):
        lab.run(folder, ALWAYS, loss=lab.Stopping(9))
    damage(checkpoints.path_of(folder, 8), how)
    with pytest.warns(UserWarning, match=r"step-00000008 damaged .*going on from step-00000007") as caught:
        model, outcome = lab.run(folder, ALWAYS)
    assert len([w for w in caught if "damaged" in str(w.message)]) == 1
    assert outcome.resumed_from == 7
    assert lab.weights_of(model) == whole[0]


def test_only_damaged_ones_are_refused_never_begun_anew(lab, folder) -> None:
    with pytest.raises(lab.Stop):
        lab.run(folder, ALWAYS, loss=lab.Stopping(9))
    for path in folder.glob("step-*"):
        damage(path, "flipped")
    loss = lab.Stopping()
    with pytest.raises(UserError, match=r"every checkpoint is damaged .*weights\.safetensors.*delete the folder"):
        lab.run(folder, ALWAYS, loss=loss)
    assert loss.calls == 0
    assert len(list(folder.glob("step-*"))) == 2


def test_what_a_killed_save_left_is_cleared_away(lab, whole, folder) -> None:
    with pytest.raises(lab.Stop):
        lab.run(folder, ALWAYS, loss=lab.Stopping(5))
    for junk in (".step-00000005.abc.tmp", ".step-00000002.drop"):
        (folder / junk).mkdir()
        (folder / junk / "weights.safetensors").write_bytes(b"half")
    model, _ = lab.run(folder, ALWAYS)
    assert lab.weights_of(model) == whole[0]
    assert not list(folder.glob(".step*"))


@pytest.mark.parametrize(
    ("setting", "says"), [({"lr": 2e-2}, "lr was 0.01, is 0.02"), ({"seed": 1}, "seed was 0, is 1")]
)
def test_a_checkpoint_of_other_settings_is_refused(lab, folder, setting, says) -> None:
    with pytest.raises(lab.Stop):
        lab.run(folder, ALWAYS, loss=lab.Stopping(3))
    with pytest.raises(UserError, match=says) as caught:
        lab.run(folder, Settings(**(BASE | setting)))
    assert str(folder / "step-00000002") in str(caught.value)


def test_every_difference_is_named(lab, new_model, folder, monkeypatch) -> None:
    with pytest.raises(lab.Stop):
        lab.run(folder, ALWAYS, loss=lab.Stopping(3))
    other = new_model(1)
    monkeypatch.setattr(torch, "__version__", "9.9")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    with pytest.raises(UserError) as caught:
        lab.run(folder, ALWAYS, model=other, base_digest="other")
    for field in ("base", "start", "torch", "threads"):
        assert f" {field} was " in str(caught.value)
    assert "threads was 1, is 7" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_loss_that_is_not_a_number_stops_before_the_step(lab, folder, new_model, accumulation) -> None:
    seen = []

    def loss(model, batch, step):
        seen.append(sorted(batch["input_ids"].flatten().tolist()))
        value = lab.Stopping()(model, batch)
        return value * float("nan") if len(seen) == 6 else value

    model = new_model()
    settings = Settings(**(BASE | {"accumulation": accumulation}), save_steps=1)
    with pytest.raises(UserError) as caught:
        lab.run(folder, settings, loss=loss, model=model)
    message = str(caught.value)
    step = 6 if accumulation == 1 else 4  # of the micro-batches 1-2, 3-4, 5 (the epoch ends), 6-7
    assert f"training stopped before step {step}: the loss is nan, on the rows train-" in message
    assert message.count("train-") == 8
    assert f"the last good checkpoint is {folder / f'step-{step - 1:08d}'}" in message
    kept = checkpoints.newest(folder)
    assert kept is not None
    assert kept[1].step == step - 1
    assert all(torch.equal(p, kept[1].tensors["weights"][n]) for n, p in model.named_parameters() if p.requires_grad)


def test_a_gradient_that_is_not_finite_stops_too(lab, folder, new_model) -> None:
    model = new_model()
    before = lab.weights_of(model)

    class Bad(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):  # type: ignore[override]
            return gradient * float("inf")

    with pytest.raises(UserError, match=r"before step 1: the norm of the gradient is (inf|nan).*no checkpoint was"):
        lab.run(folder, ALWAYS, model=model, loss=lambda m, b, step: Bad.apply(lab.Stopping()(m, b)))
    assert lab.weights_of(model) == before


def test_a_full_disk_leaves_the_old_checkpoint_and_says_so(lab, whole, folder, monkeypatch) -> None:
    def full(handle):
        if list(folder.glob(".step-00000003.*.tmp")):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        UserError, match=r"No space left.*stopped at step 3, the last checkpoint, step-00000002, is good"
    ):
        lab.run(folder, ALWAYS)
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    model, outcome = lab.run(folder, ALWAYS)
    assert outcome.resumed_from == 2
    assert lab.weights_of(model) == whole[0]
    assert not list(folder.glob(".step*"))


@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_signal_saves_the_step_under_way_and_goes_on_as_itself(lab, whole, folder, number, error) -> None:
    class Signal(lab.Stopping):
        def __call__(self, model, batch, step=0):
            if self.calls == 3:
                os.kill(os.getpid(), number)
            return super().__call__(model, batch)

    handler = signal.getsignal(number)
    with pytest.raises(error) as caught:
        lab.run(folder, Settings(**BASE, save_seconds=1e6), loss=Signal())
    assert error is KeyboardInterrupt or caught.value.code == 143
    assert signal.getsignal(number) == handler
    model, outcome = lab.run(folder, ALWAYS)
    assert outcome.resumed_from == 4
    assert lab.weights_of(model) == whole[0]


def test_two_runs_in_one_folder_are_refused(lab, folder) -> None:
    def loss(model, batch, step):
        with pytest.raises(UserError, match=rf"process {os.getpid()} on \S+ trains there already"):
            lab.run(folder, ALWAYS)
        raise lab.Stop

    with pytest.raises(lab.Stop):
        lab.run(folder, ALWAYS, loss=loss)
    lab.run(folder, ALWAYS)


def test_nothing_in_a_checkpoint_is_pickled(lab, folder, monkeypatch) -> None:
    import pickle

    def refuse(*_, **__):
        raise AssertionError("pickle")

    for module, name in ((torch, "save"), (torch, "load"), (pickle, "dump"), (pickle, "load")):
        monkeypatch.setattr(module, name, refuse)
    with pytest.raises(lab.Stop):
        lab.run(folder, ALWAYS, loss=lab.Stopping(4))
    lab.run(folder, ALWAYS)
    for path in folder.rglob("*"):
        if path.is_file() and not path.name.startswith(".lock"):
            assert path.suffix in (".json", ".safetensors")
        if path.suffix == ".json":
            json.loads(path.read_text(), parse_constant=refuse)


def test_no_warning_in_a_quiet_run(lab, folder) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        lab.run(folder, ALWAYS)
