"""A run is the missing steps, made: each once, each alike wherever it is made, each only where it is needed."""

import gc
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import crossflare.experiment.make as making
from crossflare.errors import UserError
from crossflare.evaluation.record import load_record
from crossflare.experiment.board import Board
from crossflare.experiment.context import Context
from crossflare.experiment.plan import plan
from crossflare.experiment.predictions import Prediction
from crossflare.experiment.run import run
from crossflare.experiment.spec import Spec
from crossflare.experiment.stages import Stage1, Stage2
from crossflare.experiment.steps import all_steps, check_ready
from crossflare.experiment.work import work
from crossflare.files import read_json
from tiny_experiment import READERS, TRAINED, WORDS, Lab, read_jsonl, results

RATES = [0.01, 0.03]
Found = dict[tuple[str, str, int], dict[str, Any]]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    made = Lab(tmp_path_factory.mktemp("lab"))
    gc.collect()
    gc.freeze()  # each training collects garbage: let it not look through all libraries every time
    return made


@pytest.fixture(scope="module")
def spec(lab: Lab) -> Spec:
    return lab.spec({"stage2.lr": RATES})


@pytest.fixture(scope="module")
def ran(lab: Lab, spec: Spec) -> Path:
    """The folder of a finished run; tests that change anything work on a copy."""
    return run(spec, lab.folder / "runs", workers=1)


def copy_of(ran: Path, place: Path) -> Path:
    """Return a folder of runs that holds the finished one."""
    shutil.copytree(ran, place / "runs" / ran.name)
    return place / "runs"


def records(folder: Path) -> Found:
    found = [read_json(path) for path in (folder / "records").glob("*.json")]
    return {(record["method"]["name"], record["language"], record["seed"]): record for record in found}


def log_probabilities(folder: Path, record: dict[str, Any], name: str = "log_probabilities") -> np.ndarray:
    return np.array([row[name] for row in read_jsonl(folder / record["predictions"])])


def test_every_method_language_and_seed_has_a_record(ran: Path, spec: Spec) -> None:
    found = records(ran)
    assert set(found) == {
        (m.name, language, seed) for m in spec.methods for language in spec.targets for seed in (0, 1)
    }
    for (_, language, _), record in found.items():
        rows = read_jsonl(ran / record["predictions"])
        assert [row["id"] for row in rows] == [f"test {number}" for number in range(7)]
        assert {row["gold"] for row in rows} == {0, 1}
        assert all(row["prediction"] == int(np.argmax(row["log_probabilities"])) for row in rows)
        assert record["scores"]["accuracy"] == pytest.approx(np.mean([row["correct"] for row in rows]))
        assert record["signature"]["language"] == language
        assert record["data"]["n_test"] == 7
        assert record["data"]["n_train"] == 12
        assert load_record(ran / "records" / f"{record['run_id']}.json").task["labels"] == ["bad", "good"]


def test_what_a_record_says_of_the_source(ran: Path) -> None:
    found = records(ran)
    made = {name: record["signature"]["source"].split("-")[0] for (name, _, _), record in found.items()}
    assert made == {
        **dict.fromkeys(("zero-shot", "lora", "flare-no-source"), "none"),
        **dict.fromkeys(("translate-test", "flare", "ensemble", "flare+source"), "dictionary"),
        "oracle": "oracle",
    }
    for (name, _, _), record in found.items():
        machine = made[name] == "dictionary"
        assert (record["translation"]["to_source"] is not None) == machine
        without = name in ("zero-shot", "lora", "flare-no-source")
        counts = dict(record["counts"])
        translated = counts.pop("translation", {})
        assert ("to_source" in translated.get("test", {})) == machine
        assert all(flags["rows"] > 0 for part in translated.values() for flags in part.values())
        assert counts == {
            "empty": 0,
            "no_source": 7 if without else 0,
            "truncated": {"source": 0, "target": 0},
        }


def test_the_models_differ_and_the_methods_too(ran: Path) -> None:
    found = records(ran)
    said = {key: log_probabilities(ran, record).tobytes() for key, record in found.items()}
    assert len(set(said.values())) == len(said)
    assert len({record["run_id"] for record in found.values()}) == len(found)


def test_a_second_run_does_nothing(ran: Path, spec: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "make", None)
    before = {path: path.stat().st_mtime_ns for path in ran.rglob("*") if path.name != "spec.yaml"}
    assert run(spec, ran.parent, workers=1) == ran
    after = {path: path.stat().st_mtime_ns for path in ran.rglob("*") if path.name != "spec.yaml"}
    assert before == after


def test_the_plan_is_what_is_there(lab: Lab, ran: Path, spec: Spec, tmp_path: Path) -> None:
    done = plan(spec, ran.parent)
    assert all(step.done for step in done)
    assert {step.run_id for step in done if step.kind == "predict"} == {
        path.stem for path in ran.glob("records/*.json")
    }
    assert {step.run_id for step in done if step.kind != "predict"} == {path.name for path in ran.glob("models/*")}
    fresh = plan(spec, tmp_path)
    assert not any(step.done for step in fresh)
    assert [step.label for step in fresh] == [step.label for step in done]
    late = {step.label for step in fresh if step.run_id is None}  # whatever hangs on the rate that is not chosen yet
    assert late == {
        f"{name}, {language}, seed {seed}"
        for name in (*TRAINED, *READERS, "ensemble")
        for language in ("es", "sw")
        for seed in (0, 1)
    }
    assert list(tmp_path.iterdir()) == []  # a plan writes nothing


def test_adapters_are_found_by_name(ran: Path) -> None:
    found = records(ran)
    links = {path.name: path for path in (ran / "adapters").iterdir()}
    assert set(links) == {f"{m}-{language}-seed{seed}" for m in TRAINED for language in ("es", "sw") for seed in (0, 1)}
    for name, link in links.items():
        method, language, seed = name.split("-")
        assert not link.readlink().is_absolute()  # a run's folder can be moved
        assert link.resolve().name == found[method, language, int(seed.removeprefix("seed"))]["model"]["id"]


def test_no_leftovers(ran: Path) -> None:
    assert list((ran / "checkpoints").iterdir()) == []
    assert [path for path in ran.rglob("*") if path.name.endswith((".tmp", ".old"))] == []


def test_another_folder_gives_the_same_bytes(
    lab: Lab, ran: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the recipe, at another place, alone: what it makes is what the whole one made."""
    other = Lab(tmp_path / "elsewhere", languages=("sw",), seeds=(0,))
    monkeypatch.chdir(tmp_path)
    changes = {"stage2.lr": RATES, "name": "half", "model.name": str(lab.folder / "base")}  # adapters name their base
    folder = run(other.spec(changes), tmp_path / "runs", workers=1)
    whole, half = results(ran), results(folder)
    assert len(half) > 20
    assert half == {name: whole[name] for name in half}


@pytest.mark.slow
def test_two_workers_give_the_same_bytes(spec: Spec, ran: Path, tmp_path: Path) -> None:
    assert results(run(spec, tmp_path, workers=2)) == results(ran)


# Ids -----------------------------------------------------------------------------------------------------------------

Key = tuple[str, str, str, int]


def ids(spec: Spec) -> dict[Key, str]:
    """Return the id of each step by (kind, method, language, seed)."""
    made: dict[Key, str] = {}
    for step in all_steps(Context(spec, Path("nowhere"))):
        if isinstance(step, Stage1):
            made["stage 1", "", "", step.seed] = step.id
        else:
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


@pytest.fixture
def own_lab(tmp_path: Path, lab: Lab) -> Lab:
    """A copy of the lab whose files may be changed."""
    shutil.copytree(lab.folder, tmp_path / "lab", ignore=shutil.ignore_patterns("runs"))
    return Lab(tmp_path / "lab")


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
        ({"task.dev_from_train": 4}, everything),
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
    import subprocess
    import sys

    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path; from tiny_experiment import Lab\n"
        "from crossflare.experiment.context import Context; from crossflare.experiment.steps import all_steps\n"
        "print(sorted(step.id for step in all_steps(Context(Lab(Path(sys.argv[2])).spec(), Path('x')))))"
    )
    tests = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, tests, str(lab.folder)],
        env={**os.environ, "PYTHONHASHSEED": "7"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == str(sorted(ids(lab.spec()).values()))


# Learning rates ------------------------------------------------------------------------------------------------------


def test_the_rate_is_chosen_on_dev_with_the_first_seed_and_used_for_all(ran: Path, spec: Spec) -> None:
    found = records(ran)
    for (name, language, _), record in found.items():
        if name in ("zero-shot", "translate-test"):
            assert "chosen_from" not in record["training"]
            continue
        tried = record["training"]["chosen_from"]
        assert [trial["lr"] for trial in tried] == RATES
        best = max(trial["dev_score"] for trial in tried)
        assert record["training"]["lr"] == min(t["lr"] for t in tried if t["dev_score"] == best)
        assert tried == found[name, language, 0]["training"]["chosen_from"]
    steps = all_steps(Context(spec, ran))
    trials = [step for step in steps if isinstance(step, Stage2) and step.lr is not None]
    assert {step.seed for step in trials} == {0}
    each = {(step.method.name, step.language) for step in trials}
    assert each == {(name, language) for name in TRAINED for language in ("es", "sw")}
    assert len(trials) == len(each) * len(RATES)  # as many for each method
    for step in trials:  # and what a trial reached is what its adapter's card says
        tried = records(ran)[step.method.name, step.language, 1]["training"]["chosen_from"]
        scores = {trial["lr"]: trial["dev_score"] for trial in tried}
        assert scores[step.lr] == read_json(step.path / "crossflare.json")["training"]["dev_score"]


def test_the_best_score_wins_and_the_smaller_rate_of_equals(lab: Lab, tmp_path: Path) -> None:
    context = Context(lab.spec({"stage2.lr": [0.3, 0.1, 0.2]}), tmp_path)
    chosen = Stage2(context, context.spec.method("lora"), "es", 1)
    for scores, rate in (((0.5, 0.5, 0.5), 0.1), ((0.5, 0.5, 0.6), 0.2), ((0.7, 0.5, 0.6), 0.3)):
        for trial, score in zip(chosen.trials, scores, strict=True):
            trial.path.mkdir(parents=True, exist_ok=True)
            (trial.path / "crossflare.json").write_text(json.dumps({"training": {"dev_score": score}}))
        assert chosen.rate == rate


def test_the_model_of_the_chosen_rate_is_not_trained_again(ran: Path) -> None:
    # 2 of stage 1; in each of 2 languages for each of 2 methods 2 trials, of which one is seed 0's, and seed 1's.
    assert len(list(ran.glob("models/*"))) == 2 + 2 * 2 * 3


# Averages ------------------------------------------------------------------------------------------------------------


def mean(*parts: np.ndarray) -> np.ndarray:
    total = np.exp(sum(parts) / len(parts))
    return np.log(total / total.sum(1, keepdims=True))


def test_averages_are_those_of_their_parts(ran: Path) -> None:
    found = records(ran)
    for language in ("es", "sw"):
        for seed in (0, 1):
            said = {
                name: log_probabilities(ran, record)
                for (name, *rest), record in found.items()
                if rest == [language, seed]
            }
            own = log_probabilities(ran, found["flare", language, seed], "source_log_probabilities")
            np.testing.assert_allclose(said["ensemble"], mean(said["lora"], said["translate-test"]), atol=2e-6)
            np.testing.assert_allclose(said["flare+source"], mean(said["flare"], own), atol=2e-6)


def test_an_ensemble_of_what_the_recipe_does_not_list(lab: Lab, ran: Path, tmp_path: Path) -> None:
    """Its parts are made beside the recipe's methods, and no record shows them."""
    runs = copy_of(ran, tmp_path)
    changes = {"stage2.lr": RATES, "targets": ["es"], "seeds": [0], "methods": {
        "flare": None, "both": {"kind": "ensemble", "of": "flare", "test_source": "oracle"}}}  # fmt: skip
    changes["task.files"] = {name: lab.recipe["task"]["files"][name] for name in ("en", "es")}
    folder = run(lab.spec(changes), runs, workers=1)
    found = records(folder)
    assert set(found) == {("flare", "es", 0), ("both", "es", 0)}
    parts = [read_json(path) for path in (folder / "parts").glob("*.json")]
    assert sorted(part["method"]["kind"] for part in parts) == ["flare", "translate-test"]
    assert all(part["signature"]["source"] == "oracle" for part in parts)
    said = [log_probabilities(folder, part) for part in parts]
    np.testing.assert_allclose(log_probabilities(folder, found["both", "es", 0]), mean(*said), atol=2e-6)
    whole = records(ran)["oracle", "es", 0]  # flare with the oracle source, once more
    assert any(np.array_equal(log_probabilities(ran, whole), one) for one in said)


def test_flare_without_a_source_is_its_adapter_read_alone(ran: Path, lab: Lab) -> None:
    from crossflare.evaluation.outputs import ChoiceOutputs
    from crossflare.evaluation.predict import predict
    from crossflare.fusion.adapter_files import load_adapter
    from crossflare.tasks.classification import TextTask
    from crossflare.training.base_models import load_base
    from crossflare.training.choosing import HeadForm

    task = TextTask("tiny", 1, ("bad", "good"))
    record, other = (records(ran)[name, "es", 1] for name in ("flare-no-source", "flare"))
    assert record["model"]["id"] == other["model"]["id"]
    base = load_base(str(lab.folder / "base"), task, seed=99)  # the head comes with the adapter
    model = load_adapter(base.model, ran / "models" / record["model"]["id"])
    rows = Context(lab.spec(), ran).data.test("es", "none").examples
    form = HeadForm(task, base.tokenizer, 16, with_source=False)
    alone = predict(model, form, rows, read="target", precision="fp32")
    assert isinstance(alone, ChoiceOutputs)
    np.testing.assert_allclose(log_probabilities(ran, record), alone.log_probabilities, atol=1e-5)
    assert all("source_log_probabilities" not in row for row in read_jsonl(ran / record["predictions"]))


# Failures ------------------------------------------------------------------------------------------------------------

SMALL = {"stage1.epochs": 1, "stage1.evaluations": 1, "seeds": [0]}


def small(lab: Lab, changes: dict[str, Any], *methods: str) -> Spec:
    """Return a recipe in one language with one seed and hardly any training."""
    files = {language: lab.recipe["task"]["files"][language] for language in ("en", "es")}
    return lab.spec({**SMALL, "targets": ["es"], "task.files": files, **changes}, methods)


def test_a_step_that_fails_takes_only_those_along_that_need_it(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = small(lab, {}, "zero-shot", "translate-test", "lora", "flare", "ensemble", "flare-no-source")
    made: list[str] = []

    def fake(step: Any) -> None:
        check_ready(step)
        made.append(f"{step.kind} {step.label}")
        if made[-1] == "stage 2 lora, es, seed 0":
            raise UserError("the loss is nan")
        done = step.record if isinstance(step, Prediction) else step.path / "crossflare.json"
        for path in (done, *([step.predictions] if isinstance(step, Prediction) else [])):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("{}")

    monkeypatch.setattr(making, "make", fake)
    with pytest.raises(UserError) as caught:
        run(spec, tmp_path, workers=1)
    assert "stage 2 lora, es, seed 0: the loss is nan" in str(caught.value)
    assert "2 more need" in str(caught.value)
    assert {path.stem for path in (tmp_path / "tiny" / "records").glob("*.json")} == {
        step.id for step in all_steps(Context(spec, tmp_path))
        if isinstance(step, Prediction) and step.method.name not in ("lora", "ensemble")
    }  # fmt: skip
    assert made.count("stage 2 lora, es, seed 0") == 1


def test_a_failing_prediction_leaves_the_other_readers_of_its_adapter_alone(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = Context(small(lab, {}, "flare", "flare-no-source", "oracle", "flare+source"), tmp_path)
    board = Board([context])

    def fake(step: Any) -> None:
        if isinstance(step, Prediction) and step.method.name == "flare":
            raise UserError("no engine")
        paths = [step.record, step.predictions] if isinstance(step, Prediction) else [step.path / "crossflare.json"]
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("{}")

    monkeypatch.setattr(making, "make", fake)
    work([context])
    board.look()
    assert [(each.kind, each.label, each.error) for each in board.failures] == [
        ("predict", "flare, es, seed 0", "no engine")
    ]
    done = {step.label for step in all_steps(context) if isinstance(step, Prediction) and step.done()}
    assert done == {"flare-no-source, es, seed 0", "oracle, es, seed 0"}


def test_a_loss_that_is_not_a_number_is_told_with_step_and_checkpoint(lab: Lab, tmp_path: Path) -> None:
    # Such a decay makes the weights grow a thousand times a step: some steps are finite, then none.
    changes = {"lr": 1, "weight_decay": 1e3, "warmup": 0, "epochs": 9, "evaluations": 9}
    spec = small(lab, {"stage2": {**lab.recipe["stage2"], **changes}}, "zero-shot", "lora")
    with pytest.raises(UserError) as caught:
        run(spec, tmp_path, workers=1)
    said = str(caught.value)
    assert "stage 2 lora, es, seed 0: " in said
    assert re.search(r"training stopped before step \d+: the (loss|norm of the gradient) is (nan|inf), on the ro", said)
    assert [record[0] for record in records(tmp_path / "tiny")] == ["zero-shot"]
    kept = list((tmp_path / "tiny" / "checkpoints").glob("*/step-*"))
    assert kept, "the last good checkpoint stays"
    assert str(kept[-1].parent) in said


def test_a_broken_test_file_is_found_before_anything_is_made(own_lab: Lab, tmp_path: Path) -> None:
    own_lab.edit("es", "test", lambda rows: rows[3].update(label="godo"))
    with pytest.raises(UserError, match=r"es/test\.csv:5: unknown label 'godo': did you mean 'good'\?"):
        run(small(own_lab, {}, "zero-shot"), tmp_path, workers=1)
    assert list(tmp_path.glob("tiny/*")) == []


def test_steps_are_asked_for_in_order(lab: Lab, tmp_path: Path) -> None:
    steps = all_steps(Context(small(lab, {}, "zero-shot"), tmp_path))
    with pytest.raises(UserError, match="zero-shot, es, seed 0: needs en, seed 0 first"):
        making.make(steps[-1])


# Older recipes -------------------------------------------------------------------------------------------------------


def test_records_of_an_older_recipe_are_set_aside_and_their_models_kept(lab: Lab, ran: Path, tmp_path: Path) -> None:
    runs = copy_of(ran, tmp_path)
    folder = runs / ran.name
    keep = {"zero-shot": None, "lora": None, "translate-test": None}
    models = {path.name for path in folder.glob("models/*")}
    run(lab.spec({"stage2.lr": RATES, "methods": keep}), runs, workers=1)
    assert {name for name, _, _ in records(folder)} == set(keep)
    assert len(list(folder.glob("records/old/*.json"))) == 5 * 4
    assert {path.name for path in folder.glob("models/*")} == models
    assert len(list(folder.glob("predictions/*"))) == 8 * 4  # nothing is deleted


def test_a_recipe_changed_and_changed_back(lab: Lab, ran: Path, spec: Spec, tmp_path: Path) -> None:
    runs = copy_of(ran, tmp_path)
    folder = runs / ran.name
    for name in ("sw", "es"):  # for speed: what is not a matter of zero-shot stays done
        assert len([key for key in records(folder) if key[1] == name]) == 16
    shorter = {"stage2.lr": RATES, "task.limit": {"test": 5}}
    run(lab.spec(shorter, ("zero-shot",)), runs, workers=1)
    assert {record["data"]["n_test"] for record in records(folder).values()} == {5}
    assert len(records(folder)) == 4
    run(lab.spec({"stage2.lr": RATES}, ("zero-shot",)), runs, workers=1)
    assert {record["data"]["n_test"] for record in records(folder).values()} == {7}
    assert results(folder).items() >= results(ran).items()


def test_lost_files_are_made_again(lab: Lab, ran: Path, tmp_path: Path, spec: Spec) -> None:
    runs = copy_of(ran, tmp_path)
    folder, found = runs / ran.name, records(ran)
    (folder / found["zero-shot", "es", 0]["predictions"]).unlink()
    (folder / "records" / f"{found['oracle', 'sw', 1]['run_id']}.json").unlink()
    shutil.rmtree(folder / "models" / found["lora", "es", 1]["model"]["id"])
    run(spec, runs, workers=1)
    assert results(folder) == results(ran)
    assert set(records(folder)) == set(found)


def test_words_of_the_lab_are_as_many_in_every_language() -> None:
    assert len({tuple(len(words) for words in kinds.values()) for kinds in WORDS.values()}) == 1
