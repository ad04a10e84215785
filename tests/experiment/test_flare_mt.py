"""FLARE MT from recipe to record: the states of a translation encoder stand in for a translation."""

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import crossflare
from crossflare.cli import main
from crossflare.disk.files import read_json
from crossflare.errors import UserError
from crossflare.evaluation.calibration import tempered
from crossflare.experiment.running.run import run
from crossflare.experiment.steps.context import Context
from crossflare.experiment.steps.graph import all_steps
from crossflare.recipe.spec import Spec
from tiny_experiment import LABELS, Lab, read_jsonl, results


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """The lab, with a random M2M-100 beside it and no other engine."""
    pytest.importorskip("sentencepiece")
    from translation_models import m2m

    made = Lab(tmp_path_factory.mktemp("lab"), languages=("sw",), seeds=(0,))
    m2m(made.folder / "m2m")
    gc.collect()
    gc.freeze()
    return made


def recipe(lab: Lab, changes: dict[str, Any] | None = None) -> dict[str, Any]:
    engine = {"engine": "transformers", "model": str(lab.folder / "m2m")}
    methods = {"mt": {"kind": "flare-mt"}, "zero-shot": None}
    return {"translation": {"latents": engine}, "methods": methods, **(changes or {})}


@pytest.fixture(scope="module")
def spec(lab: Lab) -> Spec:
    return lab.spec(recipe(lab))


@pytest.fixture(scope="module")
def ran(lab: Lab, spec: Spec) -> Path:
    return run(spec, lab.folder / "runs", workers=1)


def record(ran: Path) -> dict[str, Any]:
    found = [read_json(path) for path in (ran / "records").glob("*.json")]
    return {each["method"]["name"]: each for each in found}["mt"]


def test_the_record_names_the_encoder_and_no_translation(ran: Path) -> None:
    found = record(ran)
    assert found["signature"]["source"].startswith("transformers-")
    assert found["translation"]["to_source"] is None or found["translation"]["to_source"]["reads"] == "encoder states"
    card = read_json(ran / "models" / found["model"]["id"] / "crossflare.json")
    assert card["train_source"]["model"] == "m2m"
    assert card["train_source"]["reads"] == "encoder states"
    assert read_json(ran / "models" / found["model"]["id"] / "adapter_config.json")["mt_dim"] == 16
    assert not (ran / "translations").exists()  # nothing was translated
    assert len(read_jsonl(ran / found["predictions"])) == 7


def test_a_second_run_in_another_folder_gives_the_same_bytes(ran: Path, spec: Spec, tmp_path: Path) -> None:
    assert results(run(spec, tmp_path, workers=1)) == results(ran)


def test_the_states_are_read(ran: Path, lab: Lab, spec: Spec) -> None:
    """The saved adapter with other states says something else; with the encoder's, what the run said."""
    from crossflare.evaluation.scoring import predict
    from crossflare.fusion.saved.adapter_files import load_adapter
    from crossflare.tasks.kinds import TextTask
    from crossflare.training.bases.load import load_base
    from crossflare.training.forms.choosing import HeadForm
    from crossflare.training.forms.protocol import Choices

    task = TextTask("tiny", 1, ("bad", "good"))
    found = record(ran)
    base = load_base(str(lab.folder / "base"), task, seed=0)
    model = load_adapter(base.model, ran / "models" / found["model"]["id"])
    data = Context(spec, ran).data
    split = data.test("sw", "latents")
    states = data.translations.latents(split)
    assert all(text.shape[1] == 16 for states_of in states for text in states_of)

    def said(latents: list[tuple[torch.Tensor, ...]]) -> torch.Tensor:
        form = HeadForm(task, base.tokenizer, 16, with_source=False)
        out = predict(model, form, split.examples, read="latents", latents=latents, precision="fp32")
        assert isinstance(out, Choices)
        return torch.tensor(out.log_probabilities)

    there = torch.tensor([row["log_probabilities"] for row in read_jsonl(ran / found["predictions"])])
    assert said(states).allclose(there.double(), atol=1e-5)
    assert not said([tuple(text + 1 for text in states_of) for states_of in states]).allclose(there.double(), atol=1e-3)


def test_the_encoders_options_change_its_readers_alone(lab: Lab, spec: Spec) -> None:
    def ids(spec: Spec) -> dict[str, str]:
        return {f"{step.kind} {step.label}": step.id for step in all_steps(Context(spec, Path("nowhere")))}

    engine = {"engine": "transformers", "model": str(lab.folder / "m2m"), "mt_language": {"sw": "en"}}
    old, new = ids(spec), ids(lab.spec(recipe(lab, {"translation": {"latents": engine}})))
    assert {name for name in old if old[name] != new[name]} == {"stage 2 mt, sw, seed 0", "predict mt, sw, seed 0"}


def test_a_language_that_the_encoder_lacks_is_named_and_never_replaced(lab: Lab, tmp_path: Path) -> None:
    files = lab.recipe["task"]["files"]
    changes = {"targets": ["min"], "task.files": {"en": files["en"], "min": files["sw"]}}
    with pytest.raises(UserError, match=r"m2m does not have Minangkabau"):
        run(lab.spec(recipe(lab, changes)), tmp_path, workers=1)
    assert not (tmp_path / "tiny").exists()


def test_without_an_encoder_the_recipe_is_refused(lab: Lab, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = lab.write(recipe(lab, {"translation": {}}))
    assert main(["run", str(path), "--runs", str(tmp_path / "runs")]) == 2
    assert "translation.latents is missing" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_the_adapter_labels_a_file(lab: Lab, ran: Path, tmp_path: Path) -> None:
    adapter = str(ran / "adapters" / "mt-sw-seed0")
    words = ["--input", str(lab.data("sw", "test")), "--output", str(tmp_path / "out.jsonl")]
    encoder = ["--translate", "transformers", "--option", f"model={lab.folder / 'm2m'}"]
    assert main(["predict", "--adapter", adapter, *words, *encoder]) == 0
    rows = read_jsonl(tmp_path / "out.jsonl")
    told = torch.tensor([[row["probabilities"][label] for label in LABELS] for row in rows]).log()
    there = np.array([row["log_probabilities"] for row in read_jsonl(ran / record(ran)["predictions"])])
    calibrated = torch.tensor(tempered(there, record(ran)["calibration"]["temperature"]))
    assert told.double().exp().allclose(calibrated.exp(), atol=1e-4)


def test_python_takes_the_encoder_as_translator_or_none(lab: Lab, ran: Path, spec: Spec) -> None:
    from crossflare.translation.engines.dictionary import Dictionary
    from crossflare.translation.engines.hf import Transformers

    adapter = crossflare.open_adapter(ran / "adapters" / "mt-sw-seed0")
    texts = [each.texts[0] for each in Context(spec, ran).data.test("sw", "latents")]
    said = adapter.predict(texts, translator=Transformers(str(lab.folder / "m2m")))
    told = torch.tensor([list(each.probabilities.values()) for each in said]).log()
    there = np.array([row["log_probabilities"] for row in read_jsonl(ran / record(ran)["predictions"])])
    calibrated = torch.tensor(tempered(there, record(ran)["calibration"]["temperature"]))
    assert told.double().exp().allclose(calibrated.exp(), atol=1e-4)
    assert [each.source for each in said] == [None] * len(texts)
    assert adapter.predict(texts, [None] * len(texts)) != said
    wrong: list[dict[str, Any]] = [{}, {"sources": texts}, {"translator": Dictionary({})}]
    for options in wrong:
        with pytest.raises(UserError, match="reads the states of the translation model m2m; give its engine"):
            adapter.predict(texts, **options)
