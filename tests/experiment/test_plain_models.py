"""What is answered of a packaged base without torch is what the trial on the base says: nothing is refused."""

from pathlib import Path
from typing import Any

import pytest

from crossflare.errors import UserError
from crossflare.experiment.promise.models import is_plain
from crossflare.experiment.promise.trial import try_model
from crossflare.experiment.steps.context import Context
from crossflare.training.bases.packaged import BASES
from tiny_experiment import Lab
from tiny_questions import recipe as questions

LONG = {"stage1.max_length": 512, "stage2.max_length": 512}
SHORT = {"stage1.max_length": 8, "stage2.max_length": 8, "stage2.r": 256}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    try:
        BASES["minilm"].folder()
    except UserError as error:
        pytest.skip(str(error))
    return Lab(tmp_path_factory.mktemp("plain"), languages=("sw",), seeds=(0,))


def context(lab: Lab, **changes: Any) -> Context:
    return Context(lab.spec({"model.name": "minilm", **changes}), lab.folder / "runs")


PLAIN = ("zero-shot", "translate-test", "lora", "flare", "input-fusion")


@pytest.mark.parametrize("changes", [{}, SHORT, LONG], ids=["default", "short", "long"])
def test_what_is_plain_is_not_refused(lab: Lab, changes: dict[str, Any]) -> None:
    made = context(lab, methods={name: {} for name in PLAIN}, **changes)
    plain = [method for method in (None, *made.spec.methods) if is_plain(made, method)]
    assert [None if method is None else method.name for method in plain] == [
        name for name in (None, *PLAIN) if changes is not LONG or name != "input-fusion"
    ]
    for method in plain:
        try_model(made, method, fetch=False)


@pytest.mark.parametrize(
    "changes",
    [
        {"stage1.max_length": 513, "stage2.max_length": 513},
        {"task.form": "text"},
        {"model.quantise": "nf4"},
        {"stage1.modules": "all", "stage2.modules": "all"},
        {"stage1.r": 257, "stage2.r": 257},
        {"stage1.max_length": 4, "stage2.max_length": 4},
        {"model.revision": "main"},
    ],
)
def test_what_the_trial_could_refuse_is_tried(lab: Lab, changes: dict[str, Any]) -> None:
    made = context(lab, methods={"zero-shot": {}, "lora": {}, "flare": {}}, **changes)
    assert not any(is_plain(made, method) for method in (None, *made.spec.methods))


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "flare", "fusion": "mul"},
        {"kind": "flare", "alignment": "attention"},
        {"kind": "flare", "lead": 0},
        {"kind": "flare", "source_dropout": 0.5},
        {"kind": "flare", "joint": True},
        {"kind": "flare", "train_source": "annealed(10)"},
        {"kind": "flare-released"},
        {"kind": "xmixup"},
        {"kind": "xmixup-lora", "mix_block": 99},
        {"kind": "filter"},
    ],
    ids=str,
)
def test_a_method_with_more_than_defaults_is_tried(lab: Lab, options: dict[str, Any]) -> None:
    made = context(lab, methods={"tried": options})
    assert not is_plain(made, made.spec.methods[0])


def test_another_model_is_tried(lab: Lab, tmp_path: Path) -> None:
    made = Context(lab.spec(), tmp_path)
    assert not any(is_plain(made, method) for method in (None, *made.spec.methods))


def test_questions_are_tried(lab: Lab, tmp_path: Path) -> None:
    from crossflare.recipe.grid import load_recipe

    recipe = questions(tmp_path, "bert", {"lora": None}) | {"model": {"name": "minilm"}}
    made = Context(load_recipe(recipe).cells[0].spec, tmp_path)
    assert not any(is_plain(made, method) for method in (None, *made.spec.methods))
