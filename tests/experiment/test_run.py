"""A run is the missing steps, made: each once, each alike wherever it is made, each only where it is needed."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import crossflare.experiment.making.make as making
from crossflare.disk.files import read_json
from crossflare.evaluation.record import load_record
from crossflare.experiment.running.plan import plan
from crossflare.experiment.running.run import run
from crossflare.experiment.steps.context import Context
from crossflare.experiment.steps.graph import all_steps
from crossflare.experiment.steps.models import Stage2
from crossflare.recipe.spec import Spec
from tiny_experiment import READERS, TRAINED, WORDS, Lab, read_jsonl, results

RATES = [0.01, 0.03]
Found = dict[tuple[str, str, int], dict[str, Any]]


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
    chosen = Stage2(context, context.spec.method("lora"), ("es",), 1)
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
    from crossflare.evaluation.scoring import predict
    from crossflare.fusion.saved.adapter_files import load_adapter
    from crossflare.tasks.kinds import TextTask
    from crossflare.training.bases.load import load_base
    from crossflare.training.forms.choosing import HeadForm
    from crossflare.training.forms.protocol import Choices

    task = TextTask("tiny", 1, ("bad", "good"))
    record, other = (records(ran)[name, "es", 1] for name in ("flare-no-source", "flare"))
    assert record["model"]["id"] == other["model"]["id"]
    base = load_base(str(lab.folder / "base"), task, seed=99)  # the head comes with the adapter
    model = load_adapter(base.model, ran / "models" / record["model"]["id"])
    rows = Context(lab.spec(), ran).data.test("es", "none").examples
    form = HeadForm(task, base.tokenizer, 16, with_source=False)
    alone = predict(model, form, rows, read="target", precision="fp32")
    assert isinstance(alone, Choices)
    np.testing.assert_allclose(log_probabilities(ran, record), alone.log_probabilities, atol=1e-5)
    assert all("source_log_probabilities" not in row for row in read_jsonl(ran / record["predictions"]))


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
