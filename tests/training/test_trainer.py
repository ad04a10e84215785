"""What crossflare takes from transformers' Trainer is documented: methods that it says may be overridden."""

import ast
import inspect

import pytest
from transformers import Trainer, TrainerCallback, TrainingArguments

from crossflare.training.loop.flow import Flow
from crossflare.training.loop.settings import Settings
from crossflare.training.loop.trainer import SafeTrainer

QUICK = {"lr": 1e-2, "batch_size": 8, "max_length": 16, "precision": "fp32", "evaluations": 2, "epochs": 1}


@pytest.mark.parametrize(("ours", "base"), [(SafeTrainer, Trainer), (Flow, TrainerCallback)])
def test_only_documented_methods_are_overridden(ours: type, base: type) -> None:
    overridden = {name for name in vars(ours) if hasattr(base, name) and not name.startswith("__")}
    assert overridden
    for name in overridden:
        assert not name.startswith("_")
        theirs, mine = (inspect.signature(getattr(kind, name)).parameters for kind in (base, ours))
        named = [each.name for each in theirs.values() if each.kind is not each.VAR_KEYWORD]
        assert [each.name for each in mine.values() if each.kind is not each.VAR_KEYWORD] == named


def test_no_attribute_of_trainer_is_taken_by_ours(new_model, folder) -> None:
    """Trainer keeps its own state on the object that ours extends."""
    tree = ast.parse(inspect.getsource(SafeTrainer))
    set_here = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self"
    }
    named_here = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    theirs = Trainer(model=new_model(), args=TrainingArguments(output_dir=str(folder), report_to="none"))
    assert {"plan", "best"} <= set_here
    assert not set_here & set(dir(theirs))
    assert named_here & set(dir(theirs)) == {
        "__init__", "get_train_dataloader", "training_step", "floating_point_ops",
    }  # fmt: skip


def test_several_gpus_do_not_split_the_batches(lab, new_model, tmp_path, monkeypatch) -> None:
    """With two GPUs in one process Trainer wraps the model; the steps are made without the wrapper."""
    alone, _ = lab.run(tmp_path / "one", Settings(**QUICK))
    monkeypatch.setattr(TrainingArguments, "n_gpu", property(lambda self: 2))
    wrapped = []
    step = SafeTrainer.training_step
    monkeypatch.setattr(
        SafeTrainer, "training_step", lambda self, model, *a, **k: wrapped.append(model) or step(self, model, *a, **k)
    )
    two, _ = lab.run(tmp_path / "two", Settings(**QUICK))
    assert {type(model).__name__ for model in wrapped} == {"DataParallel"}
    assert lab.weights_of(two) == lab.weights_of(alone)
