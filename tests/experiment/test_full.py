"""Full fine-tuning trains every weight from stage 1 on, at a rate of its own, and is saved and opened as a whole."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import crossflare
from crossflare.disk.files import CARD, commit_dir, open_dir, read_json
from crossflare.errors import UserError
from crossflare.evaluation.calibration import tempered
from crossflare.experiment.making.make import make
from crossflare.experiment.promise.sizes import base_bytes, large_models
from crossflare.experiment.steps.context import Context
from crossflare.experiment.steps.models import Stage2
from crossflare.fusion.saved.tensor_files import MODEL
from crossflare.recipe.spec import Spec
from crossflare.recipe.strict_yaml import GatheredError
from crossflare.training.loop.loop import TrainingLoop
from tiny_experiment import Lab, said

METHODS: dict[str, Any] = {"full": {"lr": 0.005}, "lora": None, "both": {"kind": "ensemble", "of": "full"}}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab(tmp_path_factory.mktemp("lab"), languages=("sw",), seeds=(0,))


@pytest.fixture(scope="module")
def spec(lab: Lab) -> Spec:
    return lab.spec({"methods": METHODS})


@pytest.fixture(scope="module")
def full(ran: Path, spec: Spec) -> Stage2:
    return Stage2.of(Context(spec, ran), spec.method("full"), "sw", 0)


def test_every_weight_is_trained_from_stage_1_on(lab: Lab, full: Stage2) -> None:
    base: Any = AutoModelForSequenceClassification.from_pretrained(lab.recipe["model"]["name"], num_labels=2)
    identity = crossflare.identify(base, lab.recipe["model"]["name"])
    card, found = read_json(full.path / CARD), load_file(full.path / MODEL)
    assert card["base"]["digest"] == identity.digest
    merged: Any = crossflare.load_adapter(base, full.stage1.path, base=identity).merge_and_unload()
    start = dict(merged.named_parameters())
    assert found.keys() == start.keys()
    assert card["training"]["trainable_parameters"] == sum(each.numel() for each in start.values())
    still = [name for name in found if torch.equal(found[name], start[name])]
    assert still == []


def test_it_starts_from_stage_1(lab: Lab, full: Stage2) -> None:
    """With next to no learning rate it stays there."""
    spec, base = lab.spec({"methods": {"full": {"lr": 1e-12, "epochs": 1}}}), lab.recipe["model"]["name"]
    step = Stage2.of(Context(spec, lab.folder / "slow"), spec.method("full"), "sw", 0)
    shutil.copytree(full.stage1.path, step.stage1.path)
    make(step)
    start = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
    alone = {name: each.detach().clone() for name, each in start.named_parameters()}
    merged: Any = crossflare.load_adapter(start, step.stage1.path).merge_and_unload()
    found, expected = load_file(step.path / MODEL), dict(merged.named_parameters())
    assert all(torch.allclose(found[name], expected[name], atol=1e-8) for name in found)
    assert not all(torch.allclose(found[name], alone[name], atol=1e-4) for name in found)


def test_transformers_alone_reads_what_was_saved(spec: Spec, ran: Path, lab: Lab, full: Stage2) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(full.path).eval()
    tokenizer = AutoTokenizer.from_pretrained(lab.recipe["model"]["name"])
    for row, expected in zip(full.context.data.test("sw", "none"), said(ran, spec, "full"), strict=True):
        with torch.no_grad():
            found = model(**tokenizer(*row.texts, return_tensors="pt")).logits.log_softmax(-1)
        assert np.allclose(found, expected, atol=1e-4)


def test_an_opened_model_says_what_the_run_said(spec: Spec, ran: Path, full: Stage2) -> None:
    texts = [row.texts[0] for row in full.context.data.test("sw", "none")]
    model = crossflare.open_adapter(ran / "adapters" / "full-sw-seed0")
    found = [list(each.probabilities.values()) for each in model.predict(texts)]
    assert np.allclose(found, np.exp(tempered(said(ran, spec, "full"), model.calibration.temperature)), atol=1e-4)
    assert not np.allclose(said(ran, spec, "full"), said(ran, spec, "lora"), atol=1e-3)
    assert not np.allclose(said(ran, spec, "full"), said(ran, spec, "both"), atol=1e-3)


def test_it_has_a_learning_rate_of_its_own(lab: Lab) -> None:
    spec = lab.spec({"methods": {"full": None, "own": {"kind": "full", "lr": 0.5, "epochs": 7}, "lora": None}})
    assert spec.stage2.lr == 0.02
    assert [spec.training(method).lrs for method in spec.methods] == [(2e-5,), (0.5,), (0.02,)]
    assert spec.training(spec.method("own")).epochs == 7


def test_a_training_that_was_killed_goes_on_to_the_same_weights(
    lab: Lab, spec: Spec, full: Stage2, monkeypatch: pytest.MonkeyPatch
) -> None:
    again, made = Context(spec, lab.folder / "again"), TrainingLoop.make_step

    def killed(loop: TrainingLoop, batches: Any) -> Any:
        if full.id in str(loop.plan.folder) and loop.step == 4:
            raise KeyboardInterrupt
        return made(loop, batches)

    shutil.copytree(full.stage1.path, again.shared / "models" / full.stage1.id)
    monkeypatch.setattr(TrainingLoop, "make_step", killed)
    step = Stage2.of(again, spec.method("full"), "sw", 0)
    with pytest.raises(KeyboardInterrupt):
        make(step)
    assert any((again.shared / "checkpoints" / step.id).glob("step-*"))
    monkeypatch.setattr(TrainingLoop, "make_step", made)
    make(step)
    assert (step.path / MODEL).read_bytes() == (full.path / MODEL).read_bytes()
    assert not (again.shared / "checkpoints" / step.id).exists()


def test_how_large_it_gets_is_said_before(lab: Lab, spec: Spec, full: Stage2) -> None:
    base = Path(lab.recipe["model"]["name"])
    size = sum(each.numel() for each in load_file(base / MODEL).values()) * 4
    assert base_bytes(spec.model) == size
    assert size == pytest.approx((full.path / MODEL).stat().st_size, rel=0.2)
    many = lab.spec({"methods": {"full": {"lr": [1e-5, 2e-5]}, "lora": None}, "seeds": [0, 1, 2]})
    (line,) = large_models(many)
    assert line.startswith("full: 4 models of about 0.1 MB, 0.1 MB in all; while one trains,")
    (unknown,) = large_models(lab.spec({"methods": {"full": None}, "model.name": "nobody/knows-it"}))
    assert unknown == "full: 1 model, as large as nobody/knows-it in float32"


def test_a_strangers_model_is_checked_in_full(full: Stage2, tmp_path: Path) -> None:
    def refused(name: str, change: Any) -> str:
        def fill(place: Path) -> None:
            for each in open_dir(full.path):
                shutil.copyfile(full.path / each, place / each)
            found = load_file(place / MODEL)
            change(found)
            save_file(found, place / MODEL)

        commit_dir(tmp_path / name, fill)
        with pytest.raises(UserError) as error:
            crossflare.open_adapter(tmp_path / name)
        return str(error.value)

    bias = "classifier.bias"
    assert "not finite" in refused("nan", lambda found: found[bias].fill_(torch.nan))
    assert f"{bias} is [3], expected [2]" in refused("wide", lambda found: found.update({bias: torch.zeros(3)}))
    assert f"missing {bias}" in refused("less", lambda found: found.pop(bias))
    assert "unexpected other" in refused("more", lambda found: found.update(other=torch.zeros(1)))


def test_what_cannot_be_is_refused(lab: Lab) -> None:
    with pytest.raises(GatheredError) as error:
        lab.spec({"methods": {"full": {"r": 4}}, "model.quantise": "nf4"})
    assert "methods.full: all weights are trained, and those in nf4 cannot be; set model.quantise: none" in str(
        error.value
    )
    assert "methods.full.r: means nothing here" in str(error.value)
