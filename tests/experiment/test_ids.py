"""The id of a step changes with whatever the step hangs on, and with nothing else."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from crossflare.experiment.steps.context import Context
from crossflare.experiment.steps.graph import all_steps
from crossflare.experiment.steps.models import Stage1, Stage2
from crossflare.experiment.steps.prediction import PredictionStep
from crossflare.recipe.spec import Spec
from tiny_experiment import READERS, Lab

Key = tuple[str, str, str, int]


def ids(spec: Spec) -> dict[Key, str]:
    """Return the id of each step by (kind, method, language, seed)."""
    made: dict[Key, str] = {}
    for step in all_steps(Context(spec, Path("nowhere"))):
        if isinstance(step, Stage1):
            made["stage 1", "", "", step.seed] = step.id
        else:
            assert isinstance(step, Stage2 | PredictionStep)
            made[step.kind, step.method.name, step.language, step.seed] = step.id
    return made


ALL, ENGLISH, ES = {"en", "es", "sw"}, {"en"}, {"es"}
MACHINE = {"translate-test", "flare", "ensemble", "flare+source"}
"""Methods whose test rows carry a translation."""


def everything(key: Key) -> bool:
    return True


def nothing(key: Key) -> bool:
    return False


def stage2(key: Key) -> bool:
    return key[0] == "stage 2" or (key[0] == "predict" and key[1] not in ("zero-shot", "translate-test"))


def predictions(key: Key) -> bool:
    return key[0] == "predict"


def of_flare(key: Key) -> bool:
    return key[1] in READERS


def flare_and_its_average(key: Key) -> bool:
    return key[0] == "predict" and key[1] in ("flare", "flare+source")


def machine(key: Key) -> bool:
    return key[0] == "predict" and key[1] in MACHINE


def in_es(law: Any) -> Any:
    return lambda key: key[2] == "es" and law(key)


@pytest.mark.parametrize(
    ("changes", "law"),
    [
        ({"name": "other"}, nothing),
        ({"targets": ["sw", "es"]}, nothing),
        ({"stage1.lr": 0.01}, everything),
        ({"stage1.alpha": 3}, everything),
        ({"stage2.lr": 0.01}, stage2),
        ({"stage2.lr": [0.02]}, nothing),
        *[({f"stage2.{name}": value}, stage2) for name, value in
          {"epochs": 3, "batch_size": 5, "warmup": 0.2, "weight_decay": 0.1, "patience": 1, "evaluations": 3, "r": 2,
           "alpha": 2, "dropout": 0.5}.items()],
        ({"stage2.max_length": 20}, lambda key: stage2(key) or predictions(key)),
        ({"stage2.precision": "bf16"}, lambda key: stage2(key) or predictions(key)),
        *[({"methods.flare": {name: value}}, of_flare) for name, value in
          {"fusion": "mul", "alignment": "attention", "lead": 0, "source_dropout": 0.5, "r": 3, "alpha": 3, "epochs": 4,
           "lr": 0.5, "train_source": "machine"}.items()],
        ({"methods.flare": {"test_source": "oracle"}}, flare_and_its_average),
        ({"methods.lora": {"r": 2}}, lambda key: key[1] in ("lora", "ensemble")),
        ({"translation.to_source.licence": "mine"}, machine),
        ({"task.limit": {"test": 5}}, predictions),
        ({"task.limit": {"train": 8}}, everything),
        ({"task.labels": ["good", "bad"]}, everything),
        ({"stage1.balance": "weights"}, everything),
        ({"stage2.balance": "sampling"}, stage2),
        ({"stage1.balance": "none", "stage2.balance": "none"}, nothing),
        ({"task.main_metric": "macro_f1"}, everything),
        ({"task.main_metric": "weighted_f1"}, everything),
        ({"task.main_metric": "accuracy"}, nothing),
        ({"task.dev_from_train": 4}, everything),
        ({"track": "tensorboard"}, nothing),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)  # fmt: skip
def test_a_change_of_the_recipe_changes_what_hangs_on_it(lab: Lab, changes: dict[str, Any], law: Any) -> None:
    old, new = ids(lab.spec()), ids(lab.spec(changes))
    assert set(old) == {key for key in new if ":" not in key[1]}  # the rest are parts of others
    assert {key for key in old if old[key] != new[key]} == {key for key in old if law(key)}


def test_more_seeds_languages_and_methods_leave_the_rest_as_it_is(lab: Lab) -> None:
    old = ids(lab.spec())
    more = ids(lab.spec({"seeds": [1, 0, 7], "methods.half": {"kind": "lora", "r": 2}}))
    assert old.items() <= more.items()
    less = ids(lab.spec({"targets": ["sw"], "task.files": {k: lab.recipe["task"]["files"][k] for k in ("en", "sw")}}))
    assert less.items() <= old.items()
    assert len(set(more.values())) == len(more)


def change_word(rows: list[dict[str, str]]) -> None:
    rows[0]["text"] += " bueno"


def change_label(rows: list[dict[str, str]]) -> None:
    rows[0]["label"], rows[1]["label"] = rows[1]["label"], rows[0]["label"]


def rename(rows: list[dict[str, str]]) -> None:
    rows[0]["id"] = "other"


@pytest.mark.parametrize("change", [change_word, change_label, rename, list.reverse, list.pop])
@pytest.mark.parametrize(
    ("language", "part", "law"),
    [
        ("es", "test", in_es(predictions)),
        ("es", "train", in_es(stage2)),
        ("es", "dev", in_es(stage2)),
    ],
)
def test_a_changed_row_changes_what_hangs_on_it(own_lab: Lab, change: Any, language: str, part: str, law: Any) -> None:
    old = ids(own_lab.spec())
    own_lab.edit(language, part, change)
    if change in (change_label, rename):  # its partners too, else they do not correspond
        own_lab.edit("en", part, change)
        own_lab.edit("sw", part, change)
        law = predictions if part == "test" else everything
    new = ids(own_lab.spec())
    assert {key for key in old if old[key] != new[key]} == {key for key in old if law(key)}


def test_a_changed_source_row_changes_everything(own_lab: Lab) -> None:
    old = ids(own_lab.spec())
    own_lab.edit("en", "train", change_word)
    assert not old.items() & ids(own_lab.spec()).items()


def test_a_changed_test_row_of_the_source_language_is_the_oracles_alone(own_lab: Lab) -> None:
    old = ids(own_lab.spec())
    own_lab.edit("en", "test", change_word)
    new = ids(own_lab.spec())
    assert {key[1] for key in old if old[key] != new[key]} == {"oracle"}


def test_a_word_of_the_lexicon_changes_what_is_read_with_a_translation(own_lab: Lab) -> None:
    spec = {"methods.flare": {"train_source": "machine"}}
    plain, back = ids(own_lab.spec()), ids(own_lab.spec(spec))
    with (own_lab.folder / "words.tsv").open("a") as file:
        file.write("nuevo\tnew\n")
    new = ids(own_lab.spec())
    assert {key for key in plain if plain[key] != new[key]} == {key for key in plain if machine(key)}
    new = ids(own_lab.spec(spec))
    assert {key for key in back if back[key] != new[key]} == {key for key in back if machine(key) or of_flare(key)}


@pytest.mark.parametrize("to_target", [None, {"engine": "dictionary", "learn": "train"}])
def test_nothing_is_learnt_in_order_to_name_a_step(
    own_lab: Lab, to_target: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"translation.to_source": {"engine": "dictionary", "learn": "train"}}
    changes |= {} if to_target is None else {"translation.to_target": to_target}

    def learn(*_: Any, **__: Any) -> Any:
        raise AssertionError("a dictionary is learnt")

    monkeypatch.setattr("crossflare.experiment.data.engines.learn", learn)
    old = ids(own_lab.spec(changes))
    with pytest.raises(AssertionError, match="a dictionary is learnt"):  # it is, once a text is to be translated
        Context(own_lab.spec(changes), own_lab.folder / "runs").data.test("es", "machine")
    own_lab.edit("es", "train", change_word)  # which it learns from
    new = ids(own_lab.spec(changes))
    assert {key for key in old if old[key] != new[key]} == {
        key for key in old if key[2] == "es" and (stage2(key) or machine(key))
    }


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_changed_file_of_the_base_model_changes_everything(own_lab: Lab, name: str) -> None:
    old = ids(own_lab.spec())
    with (own_lab.folder / "base" / name).open("ab") as file:
        file.write(b" ")
    assert not old.items() & ids(own_lab.spec()).items()


def test_ids_are_those_of_any_folder(lab: Lab, own_lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = ids(lab.spec())
    monkeypatch.chdir(tmp_path)
    assert ids(own_lab.spec()) == old


@pytest.mark.slow
def test_ids_are_those_of_any_process(lab: Lab) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path; from tiny_experiment import Lab\n"
        "from crossflare.experiment.steps.context import Context\n"
        "from crossflare.experiment.steps.graph import all_steps\n"
        "print(sorted(step.id for step in all_steps(Context(Lab(Path(sys.argv[2])).spec(), Path('x')))))"
    )
    tests = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, tests, str(lab.folder)],
        env={**os.environ, "PYTHONHASHSEED": "7"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == str(sorted(ids(lab.spec()).values()))
